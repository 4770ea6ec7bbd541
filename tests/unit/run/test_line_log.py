"""A growing file on a store: put again whole while it is small, in parts that stay once it is large."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from w2v2_ray.places.storage import locate
from w2v2_ray.run.folder import append_line, keep_lines, read_lines
from w2v2_ray.run.remote.event_log import join_events
from w2v2_ray.run.remote.line_log import LineLog


@pytest.fixture
def local(tmp_path: Path) -> Path:
    (tmp_path / "node").mkdir()
    return tmp_path / "node" / "metrics.jsonl"


def log_of(local: Path, tmp_path: Path) -> LineLog:
    return LineLog(local, locate(tmp_path / "store"), part_bytes=100)


def write(local: Path, *updates: int) -> None:
    for update in updates:
        append_line(local, {"update": update, "loss": 1.5})


def updates_on_the_store(local: Path, tmp_path: Path) -> list[int]:
    other = local.with_name("metrics.jsonl").parent.parent / "other" / "metrics.jsonl"
    log_of(other, tmp_path).pull()
    return [record["update"] for record in read_lines(other)]


def test_a_small_file_is_one_object_put_only_when_it_has_grown(local: Path, tmp_path: Path):
    log = log_of(local, tmp_path)
    assert not log.push()
    write(local, 1, 2)
    assert log.push()
    assert not log.push()
    assert locate(tmp_path / "store").names() == ["metrics.jsonl"]
    assert updates_on_the_store(local, tmp_path) == [1, 2]


def test_a_large_file_leaves_parts_behind_that_are_not_put_again(local: Path, tmp_path: Path):
    log = log_of(local, tmp_path)
    for update in range(1, 21):
        write(local, update)
        log.push()
    names = locate(tmp_path / "store").names()
    assert names[:2] == ["metrics-00000.jsonl", "metrics-00001.jsonl"]
    assert names[-1] == "metrics.jsonl"
    written = (tmp_path / "store" / names[0]).stat().st_mtime_ns
    write(local, 21)
    log.push()
    assert (tmp_path / "store" / names[0]).stat().st_mtime_ns == written
    assert updates_on_the_store(local, tmp_path) == list(range(1, 22))


def test_a_rewound_file_takes_its_later_parts_away(local: Path, tmp_path: Path):
    log = log_of(local, tmp_path)
    write(local, *range(1, 21))
    log.push()
    keep_lines(local, lambda record: record["update"] <= 5)
    log.push()
    write(local, 6, 7)
    log.push()
    assert updates_on_the_store(local, tmp_path) == list(range(1, 8))
    assert locate(tmp_path / "store").names() == ["metrics-00000.jsonl", "metrics.jsonl"]


def test_parts_that_a_killed_writer_did_not_take_away_do_not_show(local: Path, tmp_path: Path):
    log = log_of(local, tmp_path)
    write(local, *range(1, 21))
    log.push()
    stale = {p.name: p.read_bytes() for p in (tmp_path / "store").iterdir()}
    keep_lines(local, lambda record: record["update"] <= 5)
    log.push()
    for name, content in stale.items():
        if name != "metrics.jsonl" and not (tmp_path / "store" / name).exists():
            (tmp_path / "store" / name).write_bytes(content)
    write(local, 6)
    log.push()
    assert updates_on_the_store(local, tmp_path) == [1, 2, 3, 4, 5, 6]


def test_a_part_put_before_the_end_was_cut_is_not_read_twice(local: Path, tmp_path: Path):
    log = log_of(local, tmp_path)
    write(local, 1, 2, 3)
    log.push()
    whole = (tmp_path / "store" / "metrics.jsonl").read_bytes()
    write(local, 4, 5, 6)
    log.push()
    (tmp_path / "store" / "metrics.jsonl").write_bytes(whole)  # killed in between
    assert updates_on_the_store(local, tmp_path)[:3] == [1, 2, 3]
    assert updates_on_the_store(local, tmp_path).count(1) == 1


def test_events_of_several_writers_are_joined_by_time_each_once():
    def lines(*times: float) -> bytes:
        return b"".join(json.dumps({"time": at, "event": "x"}).encode() + b"\n" for at in times)

    joined = join_events(lines(1, 4), lines(2, 4, 3) + b'{"time": 9, "eve', b"not json\n")
    assert [json.loads(line)["time"] for line in joined.splitlines()] == [1, 2, 3, 4]
