"""A run's summary and page, from what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from w2v2_ray.cli.app import app
from w2v2_ray.places.storage import locate
from w2v2_ray.reporting.run_page import render_page
from w2v2_ray.reporting.run_summary import read_run, summarise
from w2v2_ray.run.folder import RunFolder, append_line
from w2v2_ray.spec.loading import dump_job

START = 1_800_000_000.0


def write_run(folder: Path, job, *, ended: bool = True) -> RunFolder:
    """Six updates of two workers; the driver dies after the third, stays away for 100 s, and one worker goes on."""
    run = RunFolder(folder)
    run.create()
    run.spec.write_text(dump_job(job))

    def event(at: float, name: str, **details: Any) -> None:
        append_line(run.events, {"time": START + at, "event": name, **details})

    def update(at: float, number: int, workers: int) -> None:
        append_line(
            run.metrics,
            {
                "update": number, "epoch": 0, "loss": 4.0 - 0.1 * number, "accuracy": 0.1, "code_perplexity": 5.0,
                "world_size": workers, "lr": 1e-3, "audio_s_per_s": 50.0, "update_s": 2.0, "data_wait_fraction": 0.1,
                "peak_memory_bytes": 2**30, "time": START + at,
            },
        )  # fmt: skip

    event(0, "launch")
    for number in (1, 2, 3):
        update(10 + 2 * number, number, 2)
    event(15, "worker_lost", rank=1, reason="<b>killed</b>")
    event(116, "launch")
    event(120, "recovered", update=4, updates_recomputed=2, seconds_to_next_update=104.0)
    for number in (4, 5, 6):
        update(120 + 2 * (number - 4), number, 1)
    event(121, "validation", update=6, loss=3.5)
    event(124, "checkpoint", update=6, path="update-00000006", write_s=0.1)
    if ended:
        event(125, "end", update=6, stopped_early=False)
    return run


def test_figures_follow_from_what_was_written(tiny_job, tmp_path: Path):
    summary = summarise(read_run(write_run(tmp_path / "run", tiny_job())), now=START + 130)
    assert (summary.state, summary.update, summary.updates, summary.workers) == ("finished", 6, 6, 1)
    assert summary.failures == {"worker_lost": 1}
    assert (summary.launches, summary.resizes, summary.recomputed) == (2, 0, 2)
    assert summary.loss == pytest.approx(3.65)
    assert summary.best == (3.5, 6)
    # Two workers for 16 s; one from the second launch, at 116 s, to 124 s: nothing is paid for while no driver ran.
    assert summary.cost.total_h * 3600 == pytest.approx(2 * 16 + 1 * 8)
    assert summary.cost.training_h * 3600 == pytest.approx(2 * 6 + 1 * 6)


@pytest.mark.parametrize(("later_s", "state"), [(5, "training"), (3600, "silent")])
def test_a_run_that_has_not_ended_is_training_until_it_falls_silent(tiny_job, tmp_path: Path, later_s: int, state: str):
    run = write_run(tmp_path / "run", tiny_job(updates=10), ended=False)
    summary = summarise(read_run(run), now=START + 125 + later_s)
    assert summary.state == state
    assert (summary.left_s is not None) == (state == "training")


def test_the_page_needs_nothing_else_and_shows_curves_and_events_safely(tiny_job, tmp_path: Path):
    page = render_page(read_run(write_run(tmp_path / "run", tiny_job())), now=START + 130)
    assert page.count("<svg") == 6
    assert "src=" not in page
    assert "<link" not in page
    assert "&lt;b&gt;killed&lt;/b&gt;" in page
    assert "<b>killed" not in page
    assert "max_tokens: 40000" in page


def test_a_run_without_an_update_has_a_page_too(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    run.create()
    run.event("launch")
    assert "No update has been made yet" in render_page(read_run(run))


def test_the_commands_take_a_folder_or_a_uri(s3: str, tiny_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = write_run(tmp_path / "run", tiny_job())
    place = locate(s3) / "runs" / "run"
    for file in (run.spec, run.metrics, run.events):
        (place / file.name).put(file)
    monkeypatch.chdir(tmp_path)
    answers = []
    for source in (str(run.path), place.uri):
        shown = CliRunner().invoke(app, ["status", source])
        assert shown.exit_code == 0, shown.output
        assert "update 6 of 6 (100%)" in shown.output
        answers.append(json.loads(CliRunner().invoke(app, ["status", source, "--json"]).output))
        made = CliRunner().invoke(app, ["report", source, "--out", str(tmp_path / "page.html")])
        assert made.exit_code == 0, made.output
        assert source in (tmp_path / "page.html").read_text()
    assert {**answers[0], "place": ""} == {**answers[1], "place": ""}
    for missing in (str(tmp_path / "none"), f"{s3}/none"):
        refused = CliRunner().invoke(app, ["status", missing])
        assert refused.exit_code == 2
        assert "holds no run" in refused.output
