from __future__ import annotations

import pytest

from w2v2_ray.cli.plan import at_a_fault

CASES = [
    ({"elastic.max_workers": 3, "worker.gpus": 0}, True, "the others go on"),
    ({"elastic.max_workers": 3, "worker.gpus": 1}, False, "being on GPUs"),
    ({"elastic.max_workers": 3, "worker.gpus": 1, "elastic.on_fault": "go_on"}, True, "the others go on"),
    ({"elastic.max_workers": 3, "worker.gpus": 0, "elastic.on_fault": "restart"}, False, "on_fault: restart"),
    ({"elastic.max_workers": 3, "worker.gpus": 0, "engine.zero_stage": 2}, False, "ZeRO 2"),
    ({"elastic.max_workers": 1, "worker.gpus": 0}, False, "only worker"),
    ({"elastic.max_workers": 1, "worker.gpus": 0, "elastic.spares": 1}, True, "the others go on"),
]


@pytest.mark.parametrize(("changes", "go_on", "said"), CASES, ids=str)
def test_whether_survivors_go_on_and_what_plan_says_of_it(tiny_job, changes, go_on, said):
    job = tiny_job(changes)
    assert job.survivors_go_on is go_on
    assert said in at_a_fault(job)


def test_a_job_whose_gpus_are_not_settled_is_told_of_both(tiny_job):
    assert "on GPUs all start again" in at_a_fault(tiny_job({"elastic.max_workers": 3, "worker.gpus": "auto"}))
