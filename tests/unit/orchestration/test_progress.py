"""Following `metrics.jsonl` while it grows, is rewound and grows again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from w2v2_ray.orchestration.progress import MetricsFollower
from w2v2_ray.run.folder import append_line, keep_lines

NEVER_S = 1e6
"""Between two looks: the test alone decides when the follower reads, by leaving the block or through `look`."""


class Listener:
    def __init__(self) -> None:
        self.updates: list[int] = []
        self.heard = threading.Event()

    def __call__(self, record: dict[str, Any]) -> None:
        self.updates.append(record["update"])
        self.heard.set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def write(path: Path, *updates: int, at: float = 0.0) -> None:
    for update in updates:
        append_line(path, {"update": update, "time": 1000.0 + at + update})


def test_every_new_line_is_told_once(path: Path):
    listener = Listener()
    with MetricsFollower(path, listener, interval_s=0.01):
        write(path, 1)
        assert listener.heard.wait(10)
        write(path, 2, 3)
    assert listener.updates == [1, 2, 3]


def test_what_an_earlier_launch_wrote_is_not_told(path: Path):
    write(path, 1, 2)
    listener = Listener()
    with MetricsFollower(path, listener, NEVER_S):
        write(path, 3)
    assert listener.updates == [3]


def test_an_unfinished_line_is_told_when_it_is_complete(path: Path):
    listener = Listener()
    follower = MetricsFollower(path, listener, NEVER_S)
    with path.open("w") as file:
        file.write('{"update":1,')
    follower.look()
    assert listener.updates == []
    with path.open("a") as file:
        file.write('"time":1001.0}\n')
    follower.look()
    assert listener.updates == [1]


def test_updates_computed_again_after_a_rewind_are_told_and_kept_ones_are_not(path: Path):
    listener = Listener()
    follower = MetricsFollower(path, listener, NEVER_S)
    write(path, 1, 2, 3, 4)
    follower.look()
    keep_lines(path, lambda record: record["update"] <= 2)
    write(path, 3, at=100)
    follower.look()
    write(path, 4, 5, at=100)
    follower.look()
    assert listener.updates == [1, 2, 3, 4, 3, 4, 5]


def test_a_rewind_overtaken_by_many_new_lines_loses_none(path: Path):
    write(path, *range(1, 9))
    listener = Listener()
    follower = MetricsFollower(path, listener, NEVER_S)
    keep_lines(path, lambda record: record["update"] <= 2)
    write(path, *range(3, 20), at=100)
    follower.look()
    assert listener.updates == list(range(3, 20))


def test_lines_lost_by_the_rewind_between_two_looks_were_never_there(path: Path):
    listener = Listener()
    follower = MetricsFollower(path, listener, NEVER_S)
    write(path, 1, 2, 3)
    keep_lines(path, lambda record: record["update"] <= 1)
    follower.look()
    write(path, 2, at=100)
    follower.look()
    assert listener.updates == [1, 2]


def test_a_file_that_never_appears_is_no_error(path: Path):
    listener = Listener()
    with MetricsFollower(path, listener, interval_s=0.01):
        pass
    assert listener.updates == []


def test_a_line_that_is_no_json_is_passed_over(path: Path):
    listener = Listener()
    path.write_bytes(b"")
    with MetricsFollower(path, listener, NEVER_S):
        with path.open("ab") as file:
            file.write(b"\0\0\n")
        write(path, 1)
    assert listener.updates == [1]
