from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.diagnostics import Diagnostic, InvalidJobError
from w2v2_ray.spec.loading import load_job_text

CASES = YAML(typ="safe").load(Path(__file__).with_name("bad_specs.yaml"))
GOOD = "kind: pretrain\nname: x\ndata: {train: a}\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "_"))
def test_a_bad_spec_gives_these_messages(case):
    with pytest.raises(SpecError) as caught:
        load_job_text(case.get("job", GOOD), "job.yaml", case.get("set", ()))
    assert caught.value.message.split("\n") == [message.replace("{job}", "job.yaml") for message in case["messages"]]


def test_the_spec_that_the_cases_change_is_valid():
    assert load_job_text(GOOD, "job.yaml").job.name == "x"


def test_thousands_of_mistakes_are_not_thousands_of_lines():
    mistakes = [Diagnostic(f"mistake {number}") for number in range(10_000)]
    error = InvalidJobError.of(mistakes)
    assert len(error.diagnostics) == 10_000
    assert error.message.splitlines()[-1] == "... and 9,950 more, which `w2v2-ray validate --json` lists"
    assert len(error.message.splitlines()) == 51
