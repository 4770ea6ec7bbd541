"""What the coordinator's port lets in, and what its members are told."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import pytest
from worlds import SECRET, Worker, World, expected

from w2v2_ray.team import wire
from w2v2_ray.team.coordinator import Coordinator
from w2v2_ray.team.member import Member, patient_member
from w2v2_ray.team.wire import Expelled, TeamOver


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"[1, 2]\n",
        b"\xff\xfe\n",
        b'{"kind": "hello", "name": "w9"}\n',
        b'{"kind": "hello", "name": "w9", "secret": "guessed"}\n',
        b'{"kind": "hello", "name": "w9", "secret": 1}\n',
        json.dumps({"kind": "ready", "name": "w9", "secret": SECRET}).encode() + b"\n",
        json.dumps({"kind": "hello", "name": 9, "secret": SECRET}).encode() + b"\n",
        b'{"kind": "hello", "name": "' + b"x" * (2 * wire.LINE_BYTES) + b'"}\n',
    ],
    ids=lambda line: line[:40].decode("latin1"),
)
def test_a_stranger_is_shut_out_and_disturbs_nobody(line):
    with World(1) as world:
        with socket.create_connection(world.address, timeout=10) as stranger, contextlib.suppress(ConnectionResetError):
            stranger.sendall(line)
            assert stranger.recv(100) == b"", "nothing is said to it"
        assert world.coordinator.ask(lambda roster: list(roster.workers)) == []
        world.add(Worker("w0", 5))
        world.wait()
        assert world.workers[0].totals == expected(5)


def test_who_says_nothing_is_shut_out(monkeypatch):
    monkeypatch.setattr("w2v2_ray.team.coordinator.HELLO_S", 0.2)
    with World(1) as world, socket.create_connection(world.address, timeout=10) as stranger:
        assert stranger.recv(1) == b""


def test_a_name_that_is_taken_is_refused():
    with World(2) as world:
        first = Member(world.address, SECRET, "w0", {}, 2.0)
        deadline = time.monotonic() + 10
        while not world.coordinator.ask(lambda roster: list(roster.workers)) and time.monotonic() < deadline:
            time.sleep(0.01)
        second = Member(world.address, SECRET, "w0", {}, 2.0)
        with pytest.raises(Expelled):
            second.wait_for_epoch(0)
        first.check()
        first.close()
        second.close()


@pytest.mark.parametrize("line", [b"{}\n", b"nonsense\n", b'{"kind": "ready"}\n', b'{"kind": "word", "key": 1}\n'])
def test_a_member_that_talks_nonsense_is_dropped(line):
    hello = json.dumps({"kind": "hello", "name": "odd", "secret": SECRET}).encode() + b"\n"
    with World(2) as world, socket.create_connection(world.address, timeout=10) as odd:
        odd.sendall(hello + line)
        while odd.recv(1000):
            pass
        assert world.coordinator.ask(lambda roster: list(roster.workers)) == []
        assert [event["worker"] for event in world.events if event["event"] == "lost"] == ["odd"]


def test_members_of_a_coordinator_that_is_gone_stop():
    with World(2) as world:
        worker = world.add(Worker("w0", 5))
        world.coordinator.close()
        world.threads[0].join(10)
        assert isinstance(worker.problem, Expelled)


def test_where_nobody_listens_is_said_after_the_patience():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()[:2]
    with pytest.raises(Expelled, match="does not answer"):
        patient_member(address, SECRET, "w0", {}, 1.0, patience_s=0.3)


def test_who_comes_when_all_is_done_is_told():
    with World(1) as world:
        world.add(Worker("w0", 3))
        world.wait()
        late = world.add(Worker("late", 3))
        world.threads[1].join(10)
        assert isinstance(late.problem, TeamOver)
        assert late.computed == []


def test_values_of_an_epoch_that_is_over_are_forgotten():
    with World(2) as world:
        for name in ("w0", "w1"):
            world.add(Worker(name, 200, before=lambda worker, step, item: time.sleep(0.002)))
        world.add(Worker("w2", 200, before=lambda worker, step, item: time.sleep(0.002)))
        world.wait()
        assert {key.split("/")[0] for key in world.coordinator._values} == {
            str(world.coordinator.ask(lambda roster: roster.epoch))
        }


def test_closing_leaves_nobody_behind():
    """Neither who has not said its name, nor a task that its loop would lose."""
    # Which threads, not how many: one of an earlier test may end meanwhile.
    before = set(threading.enumerate())
    coordinator = Coordinator(SECRET, first=1, least=1, most=1, silence_s=60.0, begin_s=60.0)
    place = coordinator.start()
    with contextlib.ExitStack() as lines:
        silent = [lines.enter_context(socket.create_connection(place)) for _ in range(5)]
        coordinator.ask(lambda roster: None)
        assert set(threading.enumerate()) - before
        coordinator.close()
        assert set(threading.enumerate()) <= before
        for line in silent:
            with contextlib.suppress(ConnectionResetError):
                assert line.recv(1) == b""
