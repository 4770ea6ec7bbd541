"""Held-out measurements while training, shared out among the workers."""

from __future__ import annotations

import time
from typing import Any

import torch

from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.training.crews.crew import Crew
from w2v2_ray.training.objectives.task import Task


class Validator:
    """Measures a model on held-out audio: the same sub-batches and draws each time.

    Training waits for it. Its cost is bounded by `validation.max_sub_batches` and shared by all workers; a bound in
    seconds would make the best checkpoint depend on the machine.

    Args:
        job: The spec.
        engine: The model.
        task: The held-out data.
        crew: The workers.
    """

    def __init__(self, job: TrainJob, engine: TrainingEngine, task: Task[Any], crew: Crew) -> None:
        self._spec = job.validation
        self._whole = job.like_reference
        self._last_update = job.updates
        self._crew = crew
        self._engine = engine
        self._task = task

    def is_due(self, update: int) -> bool:
        """Whether to measure after an update."""
        return update % self._spec.every_updates == 0 or update == self._last_update

    def measure(self, update: int) -> dict[str, float]:
        """The task's figures, and the seconds it took (`validation_s`). Collective."""
        started = time.perf_counter()
        task, engine = self._task, self._engine
        total = task.plan.sub_batches_per_epoch
        if not self._whole:
            total = min(total, self._spec.max_sub_batches)
        engine.eval()
        try:
            with torch.no_grad():
                totals = self._crew.measure(task, total, update)
        finally:
            engine.train()
        return {**task.figures(totals), "validation_s": round(time.perf_counter() - started, 3)}
