"""A run's files: appended line by line, rewound, replaced in one step."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from w2v2_ray.errors import StorageError
from w2v2_ray.places.durable import write_text
from w2v2_ray.run.folder import RunFolder, append_line, keep_lines, read_lines


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "deep" / "run")
    run.create()
    return run


def test_rewinding_drops_later_updates_from_metrics_and_samples_alone(run: RunFolder):
    for update in range(1, 6):
        append_line(run.metrics, {"update": update, "loss": 0.1 * update})
        append_line(run.samples, {"update": update, "epoch": 0, "utterances": ["a"]})
        run.event("checkpoint", update=update)
    before = run.metrics.read_bytes()
    run.rewind(3)
    assert [record["update"] for record in read_lines(run.metrics)] == [1, 2, 3]
    assert [record["update"] for record in read_lines(run.samples)] == [1, 2, 3]
    assert [record["update"] for record in read_lines(run.events)] == [1, 2, 3, 4, 5]
    assert before.startswith(run.metrics.read_bytes())


def test_rewinding_a_run_without_files_does_nothing(run: RunFolder):
    run.rewind(0)
    assert not run.metrics.exists()


def test_an_unfinished_last_line_is_passed_over_and_does_not_survive_a_rewind(run: RunFolder):
    append_line(run.metrics, {"update": 1})
    with run.metrics.open("a") as file:
        file.write('{"update":2,"lo')
    assert list(read_lines(run.metrics)) == [{"update": 1}]
    run.rewind(5)
    append_line(run.metrics, {"update": 2})
    assert list(read_lines(run.metrics)) == [{"update": 1}, {"update": 2}]


def test_a_line_appended_after_a_killed_writers_is_not_lost(run: RunFolder):
    run.event("start")
    with run.events.open("a") as file:
        file.write('{"time":1.0,"event":"checkp')
    run.event("resume", update=4)
    assert [event["event"] for event in read_lines(run.events)] == ["start", "resume"]


def test_a_line_that_is_no_json_does_not_hide_the_others(run: RunFolder):
    append_line(run.metrics, {"update": 1})
    with run.metrics.open("ab") as file:
        file.write(b"\0\0\0\0\n")  # what a power cut can leave
    append_line(run.metrics, {"update": 2})
    assert list(read_lines(run.metrics)) == [{"update": 1}, {"update": 2}]


def test_a_loss_that_is_no_number_survives_a_rewind(run: RunFolder):
    append_line(run.metrics, {"update": 1, "loss": math.nan, "grad_norm": math.inf})
    run.rewind(1)
    (record,) = read_lines(run.metrics)
    assert math.isnan(record["loss"])
    assert record["grad_norm"] == math.inf


def test_a_rewind_that_fails_half_way_leaves_the_file_whole(run: RunFolder):
    for update in (1, 2, 3):
        append_line(run.metrics, {"update": update})
    before = run.metrics.read_bytes()

    def dies_at_2(record: dict[str, int]) -> bool:
        if record["update"] == 2:
            raise OSError("disk gone")
        return True

    with pytest.raises(OSError, match="disk gone"):
        keep_lines(run.metrics, dies_at_2)
    assert run.metrics.read_bytes() == before


def test_a_small_file_is_replaced_whole_and_leaves_no_temporary(tmp_path: Path):
    path = tmp_path / "spec.yaml"
    write_text(path, "old")
    seen = path.open()  # a reader of the old file must not see the new one's bytes
    write_text(path, "new content")
    assert seen.read() == "old"
    seen.close()
    assert path.read_text() == "new content"
    assert [entry.name for entry in tmp_path.iterdir()] == ["spec.yaml"]


def test_events_carry_their_time_and_details(run: RunFolder):
    run.event("checkpoint", update=7, path="update-00000007")
    (event,) = [json.loads(line) for line in run.events.read_text().splitlines()]
    assert event["event"] == "checkpoint"
    assert event["update"] == 7
    assert event["time"] > 1.6e9


def test_a_folder_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"file/run: cannot create.*storage_path"):
        RunFolder(tmp_path / "file" / "run").create()
