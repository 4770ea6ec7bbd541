from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.base import Spec
from w2v2_ray.spec.document import parse_yaml
from w2v2_ray.spec.introspection import specs_in
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.kinds import JOB_KINDS
from w2v2_ray.spec.loading import dump_job, load_job
from w2v2_ray.spec.schema import job_schema

FOLDER = Path(__file__).resolve().parents[3] / "jobs"
JOBS = sorted({*FOLDER.glob("*.yaml")} - {FOLDER / "runtime_env.yaml"})  # that one is Ray's
GOOD = {"kind": "pretrain", "name": "x", "data": {"train": "a"}}


def is_valid(document):
    return jsonschema.Draft202012Validator(job_schema()).is_valid(document)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_job_files_and_resolved_jobs_match_the_schema(path):
    assert is_valid(parse_yaml(path.read_text(), path.name).plain())
    assert is_valid(parse_yaml(dump_job(load_job(path).job), path.name).plain())


@pytest.mark.parametrize("train", ["a", ["a"], {"path": "a"}, [{"path": "a", "repeat": 2}, "b"]])
def test_the_schema_admits_every_form_of_datasets(train):
    assert is_valid({**GOOD, "data": {"train": train}})


@pytest.mark.parametrize(
    "change",
    [
        {"preset": "huge"},
        {"kind": "pretran"},
        {"optm": {}},
        {"updates": 0},
        {"updates": "many"},
        {"data": {"train": []}},
        {"data": {"train": 3}},
        {"optim": {"schedule": {"policy": "exp"}}},
        {"engine": {"precision": "fp8"}},
    ],
)
def test_the_schema_refuses_what_validate_refuses(change):
    assert not is_valid({**GOOD, **change})


def test_the_schema_admits_a_schedule_without_policy():
    assert is_valid({**GOOD, "optim": {"schedule": {"warmup_updates": 3}}})


def test_one_kind_can_be_asked_for_and_an_unknown_one_is_refused():
    assert job_schema("pretrain")["title"] == "PretrainJob"
    with pytest.raises(SpecError, match="did you mean `pretrain`"):
        job_schema("pretran")


def test_several_kinds_are_alternatives():
    schema = job_schema()
    assert [alternative["title"] for alternative in schema["anyOf"]] == [kind.__name__ for kind in JOB_KINDS.values()]
    assert jsonschema.Draft202012Validator(schema).is_valid(GOOD)


def undocumented(spec: type[Spec], seen: set[type[Spec]]):
    seen.add(spec)
    for name, field in spec.model_fields.items():
        if not field.description and name not in {"kind", "policy"}:
            yield f"{spec.__name__}.{name}"
        for nested in specs_in(field.annotation):
            if nested not in seen:
                yield from undocumented(nested, seen)


def test_every_field_is_documented():
    assert list(undocumented(PretrainJob, set())) == []
