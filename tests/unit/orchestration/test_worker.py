"""What runs on a worker, without Ray."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.train

from w2v2_ray.errors import DatasetError, W2v2RayError
from w2v2_ray.orchestration import worker
from w2v2_ray.orchestration.launch import run_folder
from w2v2_ray.orchestration.worker import REPORT_UPDATES, RayHooks, train_worker
from w2v2_ray.run.folder import RunFolder


@pytest.fixture
def config(tiny_job, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    job = tiny_job()
    run = run_folder(job)
    run.create()
    context = SimpleNamespace(get_local_rank=lambda: 0, get_local_world_size=lambda: 2, get_world_rank=lambda: 0)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    return {"job": job.model_dump(mode="json"), "run": str(run.path), "fatal": ".fatal-1.json"}


def failing(error: Exception, calls: list[Any]):
    def start_session(*args: Any, **options: Any) -> None:
        calls.append((args, options))
        raise error

    return start_session


def test_an_error_that_no_retry_mends_is_left_for_the_driver_and_ends_later_attempts(
    config, tiny_job, monkeypatch: pytest.MonkeyPatch
):
    calls: list[Any] = []
    monkeypatch.setattr(worker, "start_session", failing(DatasetError("shard-00001.arrow: is altered"), calls))
    with pytest.raises(DatasetError):
        train_worker(config)
    ((args, options),) = calls
    assert args[0] == tiny_job()  # the job survives its way to the worker
    assert "workers_on_node" not in options, "how many share a node must not reach the arithmetic"
    train_worker(config)
    assert len(calls) == 1
    left = json.loads((run_folder(tiny_job()).path / ".fatal-1.json").read_text())
    assert left == {"type": "DatasetError", "message": "shard-00001.arrow: is altered"}


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(5, "disk gone"), RuntimeError("connection reset")])
def test_any_other_error_is_left_to_rays_retries(config, tiny_job, monkeypatch: pytest.MonkeyPatch, error: Exception):
    calls: list[Any] = []
    monkeypatch.setattr(worker, "start_session", failing(error, calls))
    for _ in range(2):
        with pytest.raises(type(error)):
            train_worker(config)
    assert len(calls) == 2
    assert not list(run_folder(tiny_job()).path.glob(".fatal*"))
    assert not isinstance(error, W2v2RayError)


def test_workers_report_at_checkpoints_and_now_and_then_but_never_twice_an_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(ray.train, "report", reports.append)
    hooks = RayHooks(RunFolder(tmp_path), 0)
    for update in range(1, 2 * REPORT_UPDATES + 1):
        # A line is written for every second update only; a report must not depend on that.
        hooks.on_update(update, {"update": update} if update % 2 == 0 else None)
        if update in (37, REPORT_UPDATES):
            hooks.on_checkpoint(update)
    assert [(report["update"], report.get("checkpoint_update")) for report in reports] == [
        (36, 37),
        (REPORT_UPDATES, None),
        (2 * REPORT_UPDATES, None),
    ]
