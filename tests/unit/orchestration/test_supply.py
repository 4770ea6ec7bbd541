"""What is asked for against what is there, in numbers."""

from __future__ import annotations

import pytest

from w2v2_ray.errors import SpecError, UserError
from w2v2_ray.orchestration.supply import Supply, refuse_here, settle_gpus, waiting_for, workers_that_fit
from w2v2_ray.orchestration.waiting import WaitingNote

CPU_NODE, GPU_NODE = {"CPU": 8.0}, {"CPU": 8.0, "GPU": 2.0}


def supply(*nodes, **facts):
    return Supply(nodes=nodes, free=facts.pop("free", nodes), **facts)


def test_workers_fit_on_single_nodes_not_on_their_sum():
    assert workers_that_fit([{"CPU": 3.0}, {"CPU": 3.0}], {"CPU": 4.0}) == 0
    assert workers_that_fit([GPU_NODE, CPU_NODE], {"GPU": 1.0, "CPU": 4.0}) == 2
    assert workers_that_fit([GPU_NODE], {"GPU": 0.5, "CPU": 1.0}) == 4


def test_room_is_not_waited_for():
    assert waiting_for({"GPU": 1.0, "CPU": 4.0}, 2, supply(GPU_NODE)) is None


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "it has no autoscaler, so this goes on only when nodes are added"),
        ({"autoscaler": True}, "its autoscaler has been asked"),
        ({"autoscaler": True, "starting": 2}, "is starting 2 nodes"),
        ({"autoscaler": True, "refused": True}, "its autoscaler cannot start them"),
        (
            {"autoscaler": True, "failures": ("spot: no capacity",)},
            "the last start of a node failed: spot: no capacity",
        ),
    ],
)
def test_what_is_waited_for_is_one_line_with_what_can_come_of_it(facts, said):
    line = waiting_for({"GPU": 1.0, "CPU": 4.0}, 1, supply(CPU_NODE, **facts))
    assert line is not None
    assert "\n" not in line
    assert line.startswith("waiting for 1 worker with {GPU: 1, CPU: 4}: the cluster has 0 GPU, 8 CPU in 1 node")
    assert said in line


def test_what_others_use_is_said_to_be_in_use():
    line = waiting_for({"CPU": 8.0}, 1, supply(CPU_NODE, free=({"CPU": 1.0},)))
    assert line is not None
    assert "they are in use" in line


def test_what_is_waited_for_is_told_when_it_changes_and_only_then():
    told, now, seen = [], [0.0], [supply(CPU_NODE)]
    note = WaitingNote(lambda name, **how: told.append(how["reason"]), lambda needs: seen[0], lambda: now[0])
    for second in range(10):
        now[0] = float(second)
        note.look({"GPU": 1.0}, 1)
    assert len(told) == 1
    seen[0] = supply(CPU_NODE, CPU_NODE)
    now[0] = 20.0
    note.look({"GPU": 1.0}, 1)
    assert len(told) == 2
    assert "2 nodes" in told[1]


def test_a_cluster_that_cannot_be_asked_stops_nobody():
    def fail(needs):
        raise OSError("away")

    note = WaitingNote(lambda name, **how: None, fail, lambda: 0.0)
    assert note.room({"GPU": 1.0}, 1)
    note.look({"GPU": 1.0}, 1)


def test_auto_takes_a_gpu_where_there_is_one(tiny_job):
    assert settle_gpus(tiny_job(), 2, "here").worker.gpus == 1
    assert settle_gpus(tiny_job(), 0, "here").worker.gpus == 0
    assert settle_gpus(tiny_job({"engine.device": "cpu"}), 2, "here").worker.gpus == 0
    assert settle_gpus(tiny_job({"worker.gpus": 0}), 2, "here").worker.gpus == 0


def test_a_job_that_needs_a_gpu_is_refused_where_auto_finds_none(tiny_job):
    with pytest.raises(SpecError, match=r"here has no GPU that PyTorch can use: engine.precision: fp16"):
        settle_gpus(tiny_job({"engine.precision": "fp16"}), 0, "here")


def test_more_gpus_than_this_machine_has_are_refused_with_what_would_do(tiny_job):
    job = tiny_job({"worker.gpus": 1, "elastic.min_workers": 3, "elastic.max_workers": 3})
    with pytest.raises(UserError, match=r"3 workers need 1 each, and this machine has 2 GPUs .*elastic.min_workers: 2"):
        refuse_here(job, 2)
    refuse_here(job, 3)
    refuse_here(tiny_job({"worker.gpus": 0}), 0)
