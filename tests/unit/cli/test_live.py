"""What the terminal says of a run beside its updates."""

from __future__ import annotations

import io

from rich.console import Console

from w2v2_ray.cli.live import EventLines, show_training
from w2v2_ray.run.folder import RunFolder


def test_held_out_figures_are_shown_with_the_best():
    lines = EventLines()
    first = lines.line({"event": "validation", "update": 10, "loss": 1.5, "wer": 0.5, "cer": 0.25})
    assert first == "held out at update 10: loss 1.5  WER 50.00%  CER 25.00%  best so far, its checkpoint is kept"
    worse = lines.line({"event": "validation", "update": 20, "loss": 1.0, "wer": 0.6, "cer": 0.3})
    assert worse is not None
    assert worse.endswith("(best 50.00%)")
    better = lines.line({"event": "validation", "update": 30, "loss": 2.0, "wer": 0.4, "cer": 0.2})
    assert better is not None
    assert "best so far" in better


def test_pretraining_is_judged_by_its_loss():
    lines = EventLines()
    line = lines.line({"event": "validation", "update": 5, "loss": 4.0, "accuracy": 0.2})
    assert line == "held out at update 5: loss 4  accuracy 0.200  best so far, its checkpoint is kept"


def test_waiting_and_failed_starts_are_told_with_their_reason(tmp_path, tiny_job):
    job = tiny_job()
    run, out = RunFolder(tmp_path / "run"), io.StringIO()
    run.create()
    with show_training(job, run, Console(file=out, width=200)):
        run.event("waiting", reason="waiting for 1 worker with {GPU: 1}: the cluster has 0 GPU")
        run.event("start_failed", reason="no node has [room]")
        run.event("checkpoint", update=3)
    waiting, failed = out.getvalue().splitlines()
    assert waiting == "waiting for 1 worker with {GPU: 1}: the cluster has 0 GPU"
    assert failed.endswith("no node has [room]")


def test_troubles_are_told_once_for_each_reason_and_anew_once_workers_ran():
    lines = EventLines()
    full = {"event": "start_failed", "reason": "no room"}
    assert lines.line(full) == "workers could not be started, tried again: no room"
    assert lines.line(full) is None
    assert lines.line({**full, "reason": "no node"}) is not None
    assert lines.line({"event": "start"}) is None
    assert lines.line(full) is not None
    assert lines.line({"event": "resize", "from": 2, "to": 3}) == "resized from 2 to 3 workers"


def test_an_error_that_ends_the_run_is_left_to_the_command():
    lines = EventLines()
    assert lines.line({"event": "worker_lost", "reason": "CheckpointError: damaged"}) is None
    told = lines.line({"event": "worker_lost", "reason": "StorageUnavailableError: away"})
    assert told == "a worker was lost: StorageUnavailableError: away"
    assert lines.line({"event": "worker_lost", "reason": "RuntimeError: x"}) == "a worker was lost: RuntimeError: x"
