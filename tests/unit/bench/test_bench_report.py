"""What a report makes of given rounds."""

from __future__ import annotations

import json

import pytest

from w2v2_ray.bench.report import BenchReport, Column, Ratio
from w2v2_ray.bench.rounds import Cell, CellResult
from w2v2_ray.errors import StorageError

MACHINE = {
    "time_utc": "2026-01-02 03:04:05",
    "cpu": "A processor",
    "cpu_features": ["avx2"],
    "cores": 2,
    "memory_bytes": 8 * 2**30,
    "load_average": [0.5, 0.4, 0.3],
    "gpu": None,
    "versions": {"torch": "2.0"},
}


@pytest.fixture
def report():
    ours = CellResult(Cell({"size": "1", "who": "ours"}, "m:f"), [{"speed": 30.0}, {"speed": 10.0}, {"speed": 20.0}])
    theirs = CellResult(Cell({"size": "1", "who": "theirs"}, "m:f"), [{"speed": 5.0, "more": 1.0}] * 3)
    alone = CellResult(Cell({"size": "2", "who": "ours"}, "m:f"), [{"speed": 7.0}] * 3)
    return BenchReport(
        "speeds",
        "bench speeds",
        MACHINE,
        [ours, theirs, alone],
        [Column("speed", "speed", digits=1), Column("more", "more", scale=1000, digits=0)],
        [Ratio("speed / theirs", "speed", {"who": "theirs"})],
        ["a note"],
    )


def rows(report):
    lines = [line for line in report.markdown().splitlines() if line.startswith("| ")]
    return [[part.strip() for part in line.strip("|").split("|")] for line in lines]


def test_a_cell_shows_its_median_and_its_spread_where_there_is_one(report):
    assert rows(report)[2][:3] == ["1", "ours", "20.0 (10.0..30.0)"]
    assert rows(report)[3][:4] == ["1", "theirs", "5.0", "1000"]


def test_a_ratio_is_of_medians_and_is_left_out_where_the_peer_was_not_measured(report):
    assert [row[-1] for row in rows(report)[2:]] == ["4.00", "", ""]


def test_a_figure_that_a_cell_does_not_have_is_left_empty(report):
    assert rows(report)[2][3] == ""


def test_machine_command_load_versions_and_notes_are_in_the_report(report):
    text = report.markdown()
    for part in ("2 cores of A processor (avx2), 8 GiB", "load average at start 0.5", "torch 2.0", "`bench speeds`"):
        assert part in text
    assert "- a note" in text


def test_the_json_file_keeps_every_repeat(report, tmp_path):
    json_path, markdown_path = report.write(tmp_path / "new")
    document = json.loads(json_path.read_text())
    assert [found["speed"] for found in document["cells"][0]["repeats"]] == [30.0, 10.0, 20.0]
    assert document["machine"] == MACHINE
    assert markdown_path.read_text() == report.markdown()


def test_a_folder_that_cannot_be_written_is_named(report, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        report.write(tmp_path / "file")
