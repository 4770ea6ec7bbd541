"""One update of the virtual world, as the trainer makes it and as it is measured."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from w2v2_ray.data.batch_plan import assigned
from w2v2_ray.engine.training_engine import TrainingEngine, UpdateResult
from w2v2_ray.training.metrics import sum_over_workers
from w2v2_ray.training.objectives.task import MicroBatch, Task


class Step:
    """Computes this worker's share of an update's micro-batches and steps the weights, with all workers.

    Args:
        engine: Steps the weights.
        task: Micro-batches and their loss.
        micro_batches: Of an update, over all workers.
    """

    def __init__(self, engine: TrainingEngine, task: Task[Any], micro_batches: int) -> None:
        self._engine = engine
        self._task = task
        self._per_update = micro_batches

    def share(self, update: int) -> range:
        """Positions of the micro-batches that this worker computes."""
        return assigned(self._per_update, update, self._engine.world_rank, self._engine.world_size)

    def weight(self, update: int) -> int:
        """This worker's part of the update's normaliser, known before any forward pass."""
        return sum(self._task.weight(index) for index in self.share(update))

    def make(
        self,
        update: int,
        batches: Iterator[MicroBatch],
        *,
        normaliser: float,
        lr: float,
        used: dict[int, MicroBatch] | None = None,
    ) -> tuple[UpdateResult, dict[str, float]]:
        """Make an update. Collective.

        Args:
            update: Its number.
            batches: Gives the micro-batches of `share`, in order.
            normaliser: Sum of all workers' `weight`.
            lr: Learning rate.
            used: Gets what was computed, by position.

        Returns:
            What became of the weights, and the task's sums over all workers.
        """
        engine, count = self._engine, len(self.share(update))
        # Keyed by micro-batch, since a ZeRO stage may run one again with weight zero to keep workers in step.
        sums: dict[int, Tensor] = {}

        def forward(batch: MicroBatch) -> Tensor:
            loss, sums[batch.index] = self._task.forward(engine.module, batch, update)
            if used is not None:
                used[batch.index] = batch
            return loss

        engine.train()
        result = engine.update(
            islice(batches, count), count=count, total=self._per_update, forward=forward, normaliser=normaliser, lr=lr
        )
        self._task.after_update(engine.module, update)
        names = self._task.sums
        zero = torch.zeros(len(names), dtype=torch.float64, device=engine.device)
        return result, dict(zip(names, sum_over_workers(sum(sums.values(), zero)), strict=True))
