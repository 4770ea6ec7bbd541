"""What is waited for is told when it changes, and now and then as a sign of life."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from w2v2_ray.orchestration import waiting
from w2v2_ray.orchestration.supply import Supply
from w2v2_ray.orchestration.waiting import WaitingNote, tell_of_waiting

NEEDS = {"GPU": 1.0, "CPU": 4.0}
NOTHING = Supply(nodes=({"CPU": 2.0},), free=({"CPU": 2.0},))
ROOM = ({"CPU": 8.0, "GPU": 1.0},)


class Run:
    """A controller that waits: a clock, a cluster, and the reasons told."""

    def __init__(self, supply: Supply | Exception) -> None:
        self.supply = supply
        self.now = 0.0
        self.told: list[str] = []
        self.note = WaitingNote(self._event, self._look, lambda: self.now)

    def _event(self, name: str, *, reason: str) -> None:
        assert name == "waiting"
        self.told.append(reason)

    def _look(self, needs: dict[str, float]) -> Supply:
        if isinstance(self.supply, Exception):
            raise self.supply
        return self.supply

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.note.look(NEEDS, 1)


def test_a_cluster_that_is_too_small_is_told_at_once_and_once():
    run = Run(NOTHING)
    for _ in range(10):
        run.wait(1)
    (told,) = run.told
    assert told.startswith("waiting for 1 worker with {GPU: 1, CPU: 4}: the cluster has 0 GPU, 2 CPU in 1 node")
    assert not run.note.room(NEEDS, 1)


def test_a_change_is_told_and_so_is_a_sign_of_life():
    run = Run(NOTHING)
    run.wait(0)
    run.supply = replace(NOTHING, autoscaler=True, starting=1)
    run.wait(5)
    assert "starting 1 node" in run.told[1]
    run.wait(waiting._SIGN_OF_LIFE_S)
    assert run.told[2] == run.told[1]


def test_resources_of_our_own_last_workers_are_not_spoken_of_before_they_had_time_to_go():
    run = Run(Supply(nodes=ROOM, free=({"CPU": 0.0},)))
    run.wait(0)
    run.wait(waiting._PASSING_S / 2)
    assert run.told == []
    assert run.note.room(NEEDS, 1)
    run.wait(waiting._PASSING_S)
    assert "in use" in run.told[0]
    run.note.over()
    run.wait(1)
    assert len(run.told) == 1


def test_room_that_comes_is_taken_before_it_is_spoken_of():
    run = Run(NOTHING)
    run.wait(0)
    run.wait(50)
    run.supply = Supply(nodes=ROOM, free=ROOM)
    run.wait(2)
    assert len(run.told) == 1


def test_room_that_is_set_aside_is_told():
    run = Run(Supply(nodes=ROOM, free=ROOM))
    run.wait(0)
    run.wait(60)
    assert run.told == ["waiting: there is room, but it is set aside for other runs"]


def test_a_control_store_that_does_not_answer_stops_nothing():
    run = Run(OSError("busy"))
    run.wait(0)
    assert run.told == []
    assert run.note.room(NEEDS, 1)


@pytest.mark.parametrize(("supply", "told"), [(NOTHING, 1), (Supply(nodes=ROOM, free=()), 0)])
def test_tasks_that_fit_no_node_are_told_of_once_and_those_that_wait_their_turn_are_not(supply, told):
    said: list[str] = []
    looks = threading.Semaphore(0)

    def look(needs: dict[str, float]) -> Supply:
        looks.release()
        return supply

    with tell_of_waiting(NEEDS, said.append, look=look, interval_s=0.001):
        for _ in range(5):
            assert looks.acquire(timeout=60)
    assert len(said) == told
