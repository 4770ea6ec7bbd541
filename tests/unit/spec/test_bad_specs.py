from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from w2v2_ray.errors import SpecError
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
