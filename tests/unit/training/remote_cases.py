"""Training runs on an object store, each worker with a working folder of its own, as on nodes that share no disk."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from trainer_cases import Hooks, StopError

from w2v2_ray.places.storage import locate
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.run.opening import open_run
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.kinds import parse_job
from w2v2_ray.training.objectives.registry import objective_of
from w2v2_ray.training.session import start_session


class OutageHooks(Hooks):
    """A store that fails from update 3 until a save has failed of it: the file says so to the proxy."""

    flag: Path

    def on_update(self, update: int, record: dict[str, Any] | None) -> None:
        super().on_update(update, record)
        if update == 3:
            self.flag.touch()
        if self.flag.exists():
            time.sleep(0.2)
            if self.events is not None and any(e["event"] == "checkpoint_failed" for e in read_lines(self.events)):
                self.flag.unlink()

    events: Path | None = None


def train_remotely(
    job: dict[str, Any],
    environment: dict[str, str],
    nodes: str,
    stop_at: int | None = None,
    flag: str | None = None,
) -> list[int]:
    """Train as one worker; returns the updates it made."""
    rank = os.environ.get("RANK", "0")
    os.environ.update(environment, W2V2_RAY_WORK_DIR=f"{nodes}/node-{rank}")
    spec = parse_job(job)
    assert isinstance(spec, TrainJob)
    run = open_run((locate(spec.storage_path) / spec.name).uri, "worker")
    run.store.pull_start()
    hooks = Hooks(run.checkpoints, None, stop_at)
    if flag is not None:
        hooks = OutageHooks(run.checkpoints, None, stop_at)
        hooks.flag, hooks.events = Path(flag), run.events if rank == "0" else None
    session = start_session(objective_of(spec).localised(spec, run), run, hooks=hooks)
    try:
        session.trainer.train()
    except StopError:
        pass
    finally:
        session.close()
    return hooks.updates


def view_of(job: TrainJob) -> RunFolder:
    """The run as somebody sees it who knows its URI alone."""
    run = open_run((locate(job.storage_path) / job.name).uri, "view")
    run.store.pull(samples=True)
    return run
