"""What the workers of `engine_worlds` are asked to do: whole training runs of a tiny model."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from w2v2_ray.run.checkpoints.files import list_checkpoints, read_manifest
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.job import PretrainJob, TrainJob
from w2v2_ray.spec.kinds import parse_job
from w2v2_ray.training.hooks import NoHooks
from w2v2_ray.training.objectives.pretraining.task import PretrainTask
from w2v2_ray.training.session import start_session


class StopError(Exception):
    """A test ends a run in its middle."""


@dataclass
class Hooks(NoHooks):
    """Writes down what it is told; ends the process or the run at an update."""

    checkpoints: Path
    kill_at: int | None = None
    stop_at: int | None = None
    updates: list[int] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)

    def on_update(self, update: int, record: dict[str, Any] | None) -> None:
        self.updates.append(update)
        if update in (self.stop_at, self.kill_at):
            self._await_checkpoint()
        if update == self.stop_at:
            raise StopError(f"update {update}")
        if update == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _await_checkpoint(self) -> None:
        """Checkpoints are written beside the training: on a busy machine the last one may be on its way.

        Or it never comes, where a test broke the disk or a rollback passed over it.
        """
        for _ in range(1000):
            if not self.saved or f"update-{self.saved[-1]:08d}" in os.listdir(self.checkpoints):
                return
            time.sleep(0.005)

    def on_checkpoint(self, update: int) -> None:
        self.saved.append(update)


def train(job: dict[str, Any], kill_at: int | None = None, stop_at: int | None = None) -> Hooks:
    """Train a job on this worker."""
    spec = parse_job(job)
    assert isinstance(spec, TrainJob)
    run = RunFolder(Path(spec.storage_path) / spec.name)
    run.create()
    hooks = Hooks(run.checkpoints, kill_at, stop_at)
    session = start_session(spec, run, hooks=hooks)
    try:
        session.trainer.train()
    except StopError:
        pass
    finally:
        session.close()
    return hooks


class TeacherTask(PretrainTask):
    """A task with state of its own: a mean of the weights that follows them, update by update."""

    teacher: dict[str, torch.Tensor] | None = None

    def after_update(self, module: torch.nn.Module, update: int) -> None:
        weights = {name: weight.detach().clone() for name, weight in module.named_parameters()}
        before = self.teacher or weights
        self.teacher = {name: 0.75 * before[name] + 0.25 * weight for name, weight in weights.items()}

    def state(self) -> dict[str, torch.Tensor]:
        return self.teacher or {}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        self.teacher = dict(state) or None


def train_with_teacher(job: dict[str, Any], stop_at: int | None = None) -> dict[str, torch.Tensor]:
    """Train a job whose task has a teacher; returns it."""
    made: list[TeacherTask] = []

    def make(*given: Any) -> TeacherTask:
        made.append(TeacherTask(*given))
        return made[-1]

    with patch("w2v2_ray.training.objectives.pretraining.task.PretrainTask", make):
        train(job, stop_at=stop_at)
    return made[0].state()


def validate_twice(job: dict[str, Any]) -> list[dict[str, float]]:
    """Validate before training, again, and again once it was trained."""
    spec = PretrainJob.model_validate(job)
    run = RunFolder(Path(spec.storage_path) / spec.name)
    run.create()
    session = start_session(spec, run)
    validator = session.validator
    assert validator is not None

    def measure() -> dict[str, float]:
        return {name: value for name, value in validator.measure(6).items() if name != "validation_s"}

    try:
        before = [measure(), measure()]
        session.trainer.train()
        return [*before, measure()]
    finally:
        session.close()


def folder_of(job: TrainJob) -> RunFolder:
    return RunFolder(Path(job.storage_path) / job.name)


def saved_updates(job: TrainJob) -> list[int]:
    return [read_manifest(path).update for path in list_checkpoints(folder_of(job).checkpoints)]


def metrics_of(job: TrainJob) -> list[dict[str, Any]]:
    return list(read_lines(folder_of(job).metrics))


def events_of(job: TrainJob, name: str) -> list[dict[str, Any]]:
    return [event for event in read_lines(folder_of(job).events) if event["event"] == name]


def ledger_of(job: TrainJob) -> dict[tuple[int, int], list[str]]:
    """Utterances by update and epoch; each pair must be there once."""
    ledger: dict[tuple[int, int], list[str]] = {}
    for record in read_lines(folder_of(job).samples):
        key = (record["update"], record["epoch"])
        assert key not in ledger
        ledger[key] = record["utterances"]
    return ledger
