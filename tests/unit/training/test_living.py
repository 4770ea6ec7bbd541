"""Survivors go on: the same run, bit for bit, and no update computed twice, whatever happens to the others."""

from __future__ import annotations

import signal
import time

import pytest
import torch
from engine_worlds import Worlds
from living_cases import LivingWorld
from test_trainer import assert_same_run, run
from trainer_cases import events_of, folder_of, metrics_of, saved_updates, train_with_teacher

from w2v2_ray.engine.training_state import read_extra_state
from w2v2_ray.run.checkpoints.files import list_checkpoints
from w2v2_ray.spec.job import PretrainJob

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def reference(worlds: Worlds, make_tiny_job, tmp_path_factory: pytest.TempPathFactory) -> PretrainJob:
    """A run of one worker in a fixed crew that was never disturbed."""
    job: PretrainJob = make_tiny_job(tmp_path_factory.mktemp("reference"))
    run(worlds[1], job)
    return job


@pytest.mark.parametrize("size", [1, 3])
def test_a_living_crew_is_the_same_run_as_a_fixed_one(reference, tiny_job, size):
    job = tiny_job()
    with LivingWorld(job, size) as world:
        for _ in range(size):
            world.add()
        assert world.wait() == [0] * size
    assert_same_run(reference, job)
    assert saved_updates(job) == saved_updates(reference)


@pytest.mark.parametrize(
    "how",
    [
        {"compute": 3},
        {"reduce": 2},
        {"end": 3},
        {"measure": True},
        {"save": 4},
        {"finish": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("victim", ["leader", "other"])
def test_a_killed_worker_changes_nothing(reference, tiny_job, how, victim):
    if victim == "other" and {"save", "finish"} & {*how}:
        pytest.skip("only the leader does that")
    job = tiny_job()
    with LivingWorld(job, 3) as world:
        for place in range(3):
            world.add(**(how if place == (0 if victim == "leader" else 1) else {}))
            world.wait_for_coming(place + 1)
        ends = world.wait()
    assert sorted(ends) == [KILLED, 0, 0]
    assert_same_run(reference, job)
    # A checkpoint that died with its writer is made up for at the next update.
    assert saved_updates(job) == ([5, 6] if "save" in how else saved_updates(reference))
    assert [event["update"] for event in events_of(job, "validation")] == [
        event["update"] for event in events_of(reference, "validation")
    ]
    assert len(events_of(job, "end")) == 1
    assert not events_of(job, "resume")


def test_a_newcomer_is_given_the_state_and_takes_over(reference, tiny_job):
    job = tiny_job()
    with LivingWorld(job, 1) as world:
        first = world.add(pause_s=0.5, end=5)
        world.wait_for(1, 1)
        world.add()
        assert world.wait() == [KILLED, 0]
        assert first.exitcode == KILLED
    assert_same_run(reference, job)
    assert next(record["world_size"] for record in metrics_of(job)) == 1
    assert not events_of(job, "resume")


# The other tests are of fp32 at stage 1; DeepSpeed has no bf16 at stage 0.
@pytest.mark.parametrize(("precision", "zero_stage"), [("fp32", 0), ("bf16", 1)])
def test_whatever_the_precision_and_stage(worlds, tiny_job, tmp_path, precision, zero_stage):
    engine = {"engine.precision": precision, "engine.zero_stage": zero_stage}
    alone = tiny_job({**engine, "storage_path": str(tmp_path / "alone")}, updates=40)
    run(worlds[1], alone)
    job = tiny_job(engine, updates=40)
    with LivingWorld(job, 2) as world:
        world.add(pause_s=0.1, end=4)
        world.wait_for_coming(1)
        second = world.add(pause_s=0.1)
        world.wait_for(2, 1)
        world.add(pause_s=0.1)
        world.wait_for_member("w2")
        second.kill()
        assert world.wait() == [KILLED, KILLED, 0]
    assert not events_of(job, "resume"), "the newcomer had the state"
    assert_same_run(alone, job)


def test_a_newcomer_is_given_what_the_objective_keeps_of_its_own(worlds, tiny_job, tmp_path):
    alone = tiny_job(storage_path=str(tmp_path / "alone"))
    expected, *_ = worlds[1].run(train_with_teacher, alone.model_dump(mode="json"))
    job = tiny_job()
    with LivingWorld(job, 1) as world:
        world.add(pause_s=0.5, end=5, teacher=True)
        world.wait_for(1, 1)
        world.add(teacher=True)
        assert world.wait() == [KILLED, 0]
    kept = read_extra_state(list_checkpoints(folder_of(job).checkpoints)[-1])
    assert kept.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(kept[name], tensor), name


@pytest.mark.parametrize("how", [{"give": True}, {"take": True}], ids=str)
def test_a_death_while_a_state_is_sent_changes_nothing(reference, tiny_job, how):
    job = tiny_job()
    with LivingWorld(job, 2) as world:
        world.add(pause_s=0.5, **({"give": True} if "give" in how else {}))
        world.wait_for_coming(1)
        world.add(pause_s=0.5)
        world.wait_for(2, 1)
        world.add(**({"take": True} if "take" in how else {}))
        ends = world.wait()
    assert sorted(ends) == [KILLED, 0, 0]
    assert_same_run(reference, job)


def test_who_must_leave_leaves_and_the_others_go_on(reference, tiny_job):
    job = tiny_job()
    with LivingWorld(job, 3) as world:
        for place in range(3):
            world.add(pause_s=0.05, **({"leave": 3} if place == 0 else {}))
            world.wait_for_coming(place + 1)
        assert world.wait() == [0, 0, 0]
        assert [event["worker"] for event in world.events if event["event"] == "left"] == ["w0"]
        assert not [event for event in world.events if event["event"] == "lost"]
    assert_same_run(reference, job)


def test_when_all_are_lost_others_resume_from_the_last_state(reference, tiny_job):
    job = tiny_job()
    with LivingWorld(job, 2) as world:
        for place in range(2):
            world.add(end=5)
            world.wait_for_coming(place + 1)
        deadline = time.monotonic() + 60
        while any(worker.is_alive() for worker in world.workers) and time.monotonic() < deadline:
            time.sleep(0.02)
        world.add()
        assert world.wait() == [KILLED, KILLED, 0]
    assert_same_run(reference, job)
    assert events_of(job, "resume")
