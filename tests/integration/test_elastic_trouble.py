"""Real Ray runs in which memory runs out in one worker, and in which the storage is away for a while."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elastic_cluster import Driver, LocalCluster, RunWatch

from w2v2_ray.orchestration.launch import launch
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.loading import dump_job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

SNAPSHOTS = {
    "data.validation": [],
    "checkpoint.every_updates": 100,
    "checkpoint.snapshot_updates": 5,
    "checkpoint.snapshot_s": 0.5,
}


def assert_every_update_and_utterance_once(run: RunFolder, updates: int) -> None:
    assert [record["update"] for record in read_lines(run.metrics)] == list(range(1, updates + 1))
    used: dict[int, Counter[str]] = {}
    for record in read_lines(run.samples):
        used[record["epoch"]] = used.get(record["epoch"], Counter()) + Counter(record["utterances"])
    finished = sorted(used)[:-1]
    assert len(finished) >= 2
    for epoch in finished:
        assert used[epoch] == Counter(f"{number:02d}" for number in range(2, 36)), epoch


def events_of(run: RunFolder, name: str) -> list[dict[str, Any]]:
    return [event for event in read_lines(run.events) if event["event"] == name]


def out_of_memory() -> Callable[[dict[str, Any]], None]:
    """What each worker runs, except that memory runs out in one of them: first for a tensor, later for Python."""

    def train_worker(config: dict[str, Any]) -> None:
        import resource
        from pathlib import Path

        import torch

        from w2v2_ray.engine.training_engine import TrainingEngine
        from w2v2_ray.orchestration.worker import train_worker as honest

        doomed = config["team"]["name"] != "w0"
        add = TrainingEngine.add
        taken = 0

        def exhaust(limit: str) -> None:
            if limit == "tensor":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**26, resource.RLIM_INFINITY))
            try:
                bytearray(2**30)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        def counted(*given: Any, **named: Any) -> Any:
            nonlocal taken
            taken += 1
            if doomed and taken == 12:
                for limit in ("tensor", "process"):
                    past = Path(config["run"]) / f"memory-ran-out-{limit}"
                    if not past.exists():
                        past.touch()
                        exhaust(limit)
            return add(*given, **named)

        TrainingEngine.add = counted  # type: ignore[method-assign]
        try:
            honest(config)
        finally:
            TrainingEngine.add = add  # type: ignore[method-assign]

    return train_worker  # a function within one: workers cannot import this file


@pytest.mark.long
def test_memory_that_runs_out_in_one_worker_is_told_and_changes_nothing(
    make_tiny_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import ray

    from w2v2_ray.orchestration import entry

    # The other waits for the one that is started anew: the run's least is two.
    job: PretrainJob = make_tiny_job(
        tmp_path, {**SNAPSHOTS, "elastic.min_workers": 2, "elastic.max_workers": 2}, updates=36
    )
    monkeypatch.setattr(entry, "train_worker", out_of_memory())
    try:
        summary = launch(job)
    finally:
        ray.shutdown()
    run = RunFolder(summary.folder)
    events = events_of(run, "oom")
    assert len(events) == 2
    for event, error in zip(events, ("OutOfMemoryError", "MemoryError"), strict=True):
        assert re.search(rf"\b{error}\b", event["reason"])
    assert events_of(run, "worker_lost") == []
    assert events_of(run, "resume") == events_of(run, "recovered") == [], "the other kept the state"
    assert [event["gone"] for event in events_of(run, "going_on") if event["gone"]]
    assert_every_update_and_utterance_once(run, 36)


@pytest.mark.long
def test_a_run_trains_on_while_its_storage_is_away_and_saves_when_it_is_back(make_tiny_job, tmp_path: Path):
    """The run's folder is away for some seconds, while states are due and while Ray is reported to at update 60."""
    updates = 160
    job: PretrainJob = make_tiny_job(
        tmp_path / "runs",
        {**SNAPSHOTS, "checkpoint.every_updates": 60, "elastic.min_workers": 1, "elastic.max_workers": 1},
        updates=updates,
    )
    job_file = tmp_path / "job.yaml"
    job_file.write_text(dump_job(job))
    run, away = RunFolder(tmp_path / "runs" / job.name), tmp_path / "away"
    cluster = LocalCluster(1)
    driver = Driver(job_file, cluster.address)
    watch = RunWatch(run, driver)
    try:
        watch.wait_for_update(25)
        run.path.rename(away)
        run.path.write_text("a mount that is gone")
        left = RunWatch(RunFolder(away), driver)
        left.wait_for_update(85)
        run.path.unlink()
        away.rename(run.path)
        watch.wait_until_over(120)
    finally:
        driver.kill()
        cluster.close()
    assert events_of(run, "resume") == [], "no worker was restarted for it"
    assert len(events_of(run, "start")) == 1
    assert events_of(run, "checkpoint_failed") or events_of(run, "snapshot")
    assert_every_update_and_utterance_once(run, updates)
    assert (run.checkpoints / f"update-{updates:08d}").is_dir()
