from __future__ import annotations

from typing import Any

import pytest

from w2v2_ray.orchestration.living.chronicle import Chronicle
from w2v2_ray.team.roster import BEGINS


@pytest.fixture
def written() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def chronicle(written) -> Chronicle:
    def event(name: str, **details: Any) -> None:
        written.append({"event": name, **details})

    return Chronicle(event, list)


def team(chronicle: Chronicle, reason: str, joined: tuple[str, ...] = (), gone: tuple[str, ...] = ()) -> None:
    about = {name: {"node": "n", "pid": 1} for name in joined}
    chronicle.tell("team", epoch=1, workers=2, joined=about, gone=list(gone), reason=reason)


def going_on(chronicle: Chronicle, workers: int, paused_s: float = 0.1) -> None:
    chronicle.tell("going_on", epoch=1, workers=workers, paused_s=paused_s)


def test_a_beginning_is_no_going_on(chronicle, written):
    team(chronicle, BEGINS, joined=("w0", "w1"))
    going_on(chronicle, 2)
    assert [event["event"] for event in written] == ["joined", "joined"]


def test_changes_between_two_updates_are_one_event(chronicle, written):
    team(chronicle, BEGINS, joined=("w0", "w1"))
    going_on(chronicle, 2)
    del written[:]
    team(chronicle, "w1 closed its connection", gone=("w1",))
    team(chronicle, "w2 joins", joined=("w2",))
    team(chronicle, "w2 closed its connection", gone=("w2",))
    going_on(chronicle, 1, 0.25)
    assert written[-1] == {
        "event": "going_on", "from": 2, "to": 1, "paused_s": 0.25, "joined": [], "gone": ["w1"],
        "reason": "w1 closed its connection; w2 joins; w2 closed its connection",
    }  # fmt: skip


def test_a_beginning_after_the_loss_of_all_is_no_going_on(chronicle, written):
    for name in ("w0", "w1"):
        team(chronicle, BEGINS, joined=(name,))
        going_on(chronicle, 1)
    assert [event["event"] for event in written] == ["joined", "joined"]


def test_why_a_worker_ended_is_told_once(chronicle, written):
    chronicle.tell("silent", worker="w0", reason="has not answered for 10 s", node="n")
    chronicle.ended("w0", RuntimeError("killed after it hung"))
    chronicle.tell("lost", worker="w1", reason="closed its connection", node="n")
    chronicle.ended("w1", MemoryError("cannot allocate memory"))
    chronicle.ended("w2", RuntimeError("connection closed by peer"))
    assert [(event["event"], event["worker"]) for event in written] == [
        ("worker_hung", "w0"), ("oom", "w1"), ("worker_lost", "w2"),
    ]  # fmt: skip
