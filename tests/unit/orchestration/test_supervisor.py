"""How the driver of a living crew counts failures and starts workers, with a cluster and workers that are not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from w2v2_ray.orchestration.living import supervisor
from w2v2_ray.orchestration.living.supervisor import LivingTrainer
from w2v2_ray.run.folder import RunFolder


class Host:
    """Stands for the controllers' process."""

    stopped: list[Host]

    def __init__(self, runs: int, *, inherit: bool) -> None:
        self.runs, self.inherit = runs, inherit

    def stop(self) -> None:
        Host.stopped.append(self)


class Replica:
    """Stands for a worker."""

    def __init__(self, *given: Any, name: str, host: Host, **named: Any) -> None:
        self.name, self.host = name, host
        self.called = self.over = False
        self.error: BaseException | None = None


@pytest.fixture
def room(monkeypatch) -> SimpleNamespace:
    """`room.workers` fit into the cluster."""
    room = SimpleNamespace(workers=0)
    Host.stopped = []
    monkeypatch.setattr(supervisor, "ControllerHost", Host)
    monkeypatch.setattr(supervisor, "Replica", Replica)
    monkeypatch.setattr(supervisor, "_ROOM_S", 0.0)
    monkeypatch.setattr(LivingTrainer, "_room", lambda self: room.workers)
    monkeypatch.setattr(supervisor._WholeRequest, "keep", lambda self: None)
    return room


@pytest.fixture
def trainer(room, make_tiny_job, tmp_path) -> LivingTrainer:
    job = make_tiny_job(
        tmp_path,
        {
            "elastic.max_workers": 3,
            "elastic.spares": 1,
            "worker.gpus": 0,
            "failure.max_failures": 8,
            "failure.max_failures_without_progress": 3,
        },
    )
    run = RunFolder(tmp_path / "run")
    run.create()
    trainer = LivingTrainer(job, run, None, {"fatal": "fatal.json"}, "launch")
    trainer._address = ("127.0.0.1", 1)
    return trainer


def test_as_many_are_started_as_there_is_room_for_and_places(trainer, room):
    room.workers = 2
    trainer._replenish()
    assert sorted(trainer._replicas) == ["w0", "w1"]
    trainer._replenish()
    assert len(trainer._replicas) == 2, "those on their way may not have taken their room yet"
    for replica in trainer._replicas.values():
        replica.called = True
    room.workers = 9
    trainer._replenish()
    assert len(trainer._replicas) == 4, "three workers and a spare"


def test_workers_share_a_process_that_ends_when_none_is_left(trainer, room):
    room.workers = 2
    trainer._replenish()
    for replica in trainer._replicas.values():
        replica.called = True
    room.workers = 1
    trainer._replenish()
    hosts = {replica.host for replica in trainer._replicas.values()}
    assert len(hosts) == 1
    assert next(iter(hosts)).runs > 4
    assert not next(iter(hosts)).inherit, "nodes that others have started know nothing of this driver's environment"
    trainer._forget("w0")
    trainer._forget("w1")
    assert Host.stopped == []
    trainer._forget("w2")
    assert {*Host.stopped} == hosts


def test_failures_without_progress_end_the_run(trainer):
    error = RuntimeError("always")
    for _ in range(3):
        trainer._count(error, -1)
    with pytest.raises(RuntimeError, match="always"):
        trainer._count(error, -1)


def test_survivors_that_go_on_are_progress_up_to_the_limit(trainer):
    error = RuntimeError("again and again")
    for position in range(8):
        trainer._count(error, 10 * position)
    with pytest.raises(RuntimeError):
        trainer._count(error, 1000)


def test_a_new_state_is_progress(trainer, monkeypatch):
    error = RuntimeError("all are lost each time")
    for number in range(8):
        monkeypatch.setattr(trainer, "_newest_state", lambda name=f"snapshot-{number}": name)
        trainer._count(error, -1)
    assert trainer._in_vain == 1


def test_after_failures_in_a_row_the_next_start_waits(trainer, room):
    error = RuntimeError("at once")
    trainer._count(error, 5)
    room.workers = 1
    trainer._replenish()
    assert len(trainer._replicas) == 1, "the first is made up for at once"
    trainer._count(error, 5)
    trainer._replicas.clear()
    trainer._replenish()
    assert trainer._replicas == {}


def test_a_storage_that_is_away_is_no_fatal_error(trainer):
    assert trainer._has_fatal_error() is False
    trainer._run.notes.write("fatal.json", "{}")
    assert trainer._has_fatal_error() is True
    trainer._run.path.rename(trainer._run.path.with_name("away"))
    trainer._run.path.write_text("a mount that is gone")
    assert trainer._has_fatal_error() is False


def test_where_there_is_no_autoscaler_none_is_asked(make_tiny_job, room, tmp_path, monkeypatch):
    asked: list[bool] = []
    monkeypatch.setattr(supervisor._WholeRequest, "keep", lambda self: asked.append(True))
    job = make_tiny_job(tmp_path, {"elastic.max_workers": 2, "worker.gpus": 0})
    run = RunFolder(tmp_path / "run")
    run.create()
    for alone in (False, True):
        trainer = LivingTrainer(job, run, None, {"fatal": "fatal.json"}, "launch", alone=alone)
        trainer._address = ("127.0.0.1", 1)
        room.workers = 1
        trainer._replenish()
    assert asked == [True]
    assert trainer._replicas["w0"].host.inherit
