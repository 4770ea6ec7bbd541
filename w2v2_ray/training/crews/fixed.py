"""Workers that start together and, when one of them is lost, are started again together.

ZeRO stages 2 and 3 need it: there a worker holds a part of the state that no other has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from w2v2_ray.data.batch_plan import assigned
from w2v2_ray.data.loader import Prefetcher
from w2v2_ray.engine.distributed import broadcast_object, gather_objects
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.notes import RunNotes
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.training.checkpointer import Signals
from w2v2_ray.training.crews.crew import Begin, Decide, Made
from w2v2_ray.training.metrics import sum_over_workers
from w2v2_ray.training.objectives.task import MicroBatch, Task
from w2v2_ray.training.step import Step


class FixedCrew:
    """The ranks of a process group. See `Crew`.

    Args:
        job: The spec.
        engine: Steps the weights.
        task: Training micro-batches.
    """

    def __init__(self, job: TrainJob, engine: TrainingEngine, task: Task[Any]) -> None:
        self._engine = engine
        self._task = task
        self._depth = job.data.prefetch_micro_batches
        self._step = Step(engine, task, job.batch.micro_batches_per_update)
        self._batches: Prefetcher[MicroBatch] | None = None
        self._weights: Prefetcher[int] | None = None

    @property
    def leads(self) -> bool:
        """Rank 0."""
        return self._engine.world_rank == 0

    @property
    def writes(self) -> bool:
        """Everybody writes a share."""
        return True

    @property
    def size(self) -> int:
        """Ranks."""
        return self._engine.world_size

    @property
    def wait_s(self) -> float:
        """See `Crew`."""
        return self._batches.wait_s if self._batches else 0.0

    def fence(self, notes: RunNotes) -> Fence:
        """Rank 0's, on everybody."""
        return Fence(notes, self.word("fence", lambda: Fence.take(notes).token))

    def enter(self, decide: Decide, begin: Begin) -> bool:
        """Everybody begins from what rank 0 decides."""
        begin(self.word("start", decide))
        return False

    def word(self, key: str, make: Callable[[], Any]) -> Any:
        """A broadcast."""
        return broadcast_object(make() if self.leads else None)

    def see_to(self, key: str, work: Callable[[], None]) -> None:
        """Everybody does it."""
        work()

    def begin(self, updates: Callable[[int], Iterator[int]], start: int) -> None:
        """See `Crew`."""
        mine = (index for update in updates(start) for index in self._step.share(update))
        self._batches = Prefetcher(self._task.micro_batch, mine, depth=self._depth)
        self._weights = Prefetcher(self._step.weight, updates(start), depth=2)

    def rest(self) -> None:
        """See `Crew`."""
        for ahead in (self._batches, self._weights):
            if ahead is not None:
                ahead.close()

    def make(self, update: int, lr: float, mine: Signals, *, trace: bool) -> Made:
        """The normaliser and the signals in one sum, then the gradient."""
        assert self._batches is not None
        assert self._weights is not None
        told = [float(next(self._weights)), *mine.as_list()]
        summed = torch.tensor(told, dtype=torch.float64, device=self._engine.device)
        normaliser, *rest = sum_over_workers(summed)
        used: dict[int, MicroBatch] | None = {} if trace else None
        result, totals = self._step.make(update, self._batches, normaliser=normaliser, lr=lr, used=used)
        everyone = gather_objects([*used]) if used is not None else []
        return Made(result, totals, Signals.from_list(rest), [index for part in everyone for index in part])

    def measure(self, task: Task[Any], sub_batches: int, update: int) -> dict[str, float]:
        """Each rank its share."""
        engine = self._engine
        mine = list(assigned(sub_batches, 1, engine.world_rank, engine.world_size))
        # ZeRO 3 gathers weights layer by layer, so every worker must forward equally often; repeats count once.
        padding = -(-sub_batches // engine.world_size) - len(mine)
        padded = mine + [mine[-1] if mine else 0] * padding
        sums = torch.zeros(len(task.sums), dtype=torch.float64, device=engine.device)
        batches = Prefetcher(task.micro_batch, padded, depth=self._depth)
        try:
            for position, batch in enumerate(batches):
                _, counts = task.forward(engine.module, batch, update)
                if position < len(mine):
                    sums += counts
        finally:
            batches.close()
        return dict(zip(task.sums, sum_over_workers(sums), strict=True))

    def leave(self) -> bool:
        """All leave together: the group is started again without the node."""
        return False

    def end(self) -> None:
        """Nobody waits for it."""
