"""Workers that come and go while the run goes on.

Each is a world of its own to DeepSpeed and holds the whole state; only sums cross between them (`team/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from w2v2_ray.data.loader import Prefetcher
from w2v2_ray.engine.live_state import adopt, live_description, live_tensors
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.notes import RunNotes
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.team.member import Member
from w2v2_ray.team.team import Team, share_of
from w2v2_ray.training.checkpointer import Signals
from w2v2_ray.training.crews.ahead import Ahead
from w2v2_ray.training.crews.crew import Begin, Decide, Made
from w2v2_ray.training.objectives.task import MicroBatch, Task


class Rows:
    """The task's sums of every item, each in a row of its own that one worker fills.

    A row is added to zeros alone, so that its float64 figures pass through a sum of whole numbers as they are; the
    rows are then added up in their order, whoever filled them.

    Args:
        task: Whose sums.
        items: What the rows are of.
        device: Where they are kept.
    """

    def __init__(self, task: Task[Any], items: Sequence[int], device: torch.device) -> None:
        self._names = task.sums
        self._places = {item: place for place, item in enumerate(items)}
        self.bits = torch.zeros(len(items), len(task.sums) + 1, dtype=torch.int64, device=device)

    def fill(self, item: int, sums: Tensor) -> None:
        """Fill one row and count it."""
        row = self.bits[self._places[item]]
        row[:-1].copy_(sums.detach().to(torch.float64).contiguous().view(torch.int64))
        row[-1] += 1

    def totals(self, bits: Tensor) -> dict[str, float]:
        """The sums over all rows of a total.

        Raises:
            RuntimeError: When a row was not filled exactly once: the workers did not agree on who computes what.
        """
        host = bits.cpu()
        if not bool((host[:, -1] == 1).all()):
            raise RuntimeError(f"micro-batches were counted {host[:, -1].tolist()} times, and not once each")
        totals = torch.zeros(len(self._names), dtype=torch.float64)
        for row in host[:, :-1].contiguous().view(torch.float64):
            totals = totals + row
        return dict(zip(self._names, totals.tolist(), strict=True))


class _Update:
    """This worker's part of an update's gradient. See `team.Sum`."""

    rounded = 1

    def __init__(self, crew: LivingCrew, update: int, normaliser: float) -> None:
        self._crew = crew
        self._update = update
        self._normaliser = normaliser
        self.items = crew.items(update)
        self.rows = Rows(crew.task, self.items, crew.engine.device)

    def compute(self, item: int) -> None:
        """One micro-batch forward and backward."""
        crew = self._crew

        def forward(batch: MicroBatch) -> Tensor:
            loss, sums = crew.task.forward(crew.engine.module, batch, self._update)
            self.rows.fill(item, sums)
            return loss

        crew.engine.add(crew.ahead.get(item), forward, self._normaliser)

    def partial(self) -> list[Tensor]:
        """Gradient, rows, and whether a gradient was out of range."""
        exact = self._crew.engine.exact_sum
        outside = torch.tensor([int(exact.outside(len(self.items)))], dtype=torch.int64, device=self.rows.bits.device)
        return [exact.partial, self.rows.bits, outside]

    def planned(self, items: Sequence[int]) -> None:
        """Have them ready, and what follows if nothing changes."""
        self._crew.expect(items, self._update)


class _HeldOut:
    """This worker's part of a held-out measurement. See `team.Sum`."""

    rounded = 0

    def __init__(self, crew: LivingCrew, task: Task[Any], items: Sequence[int], update: int) -> None:
        self._crew = crew
        self._task = task
        self._update = update
        self.rows = Rows(task, items, crew.engine.device)
        self.ahead: Ahead[MicroBatch] = Ahead(task.micro_batch, depth=crew.depth)

    def compute(self, item: int) -> None:
        """One sub-batch forward."""
        _, sums = self._task.forward(self._crew.engine.module, self.ahead.get(item), self._update)
        self.rows.fill(item, sums)

    def partial(self) -> list[Tensor]:
        """The rows."""
        return [self.rows.bits]

    def planned(self, items: Sequence[int]) -> None:
        """Have them ready."""
        self.ahead.expect(items)


class LivingCrew:
    """A team. See `Crew`; also the luggage of those who join it.

    Args:
        job: The spec.
        engine: A world of its own: one rank, the whole state.
        task: Training micro-batches.
        member: This worker's line to the coordinator.

    Attributes:
        describe: Gives the trainer's part of a newcomer's luggage, plain JSON; set by the trainer.
        unpack_trainer: Takes it over.
    """

    def __init__(self, job: TrainJob, engine: TrainingEngine, task: Task[Any], member: Member) -> None:
        self.engine = engine
        self.task = task
        self.depth = job.data.prefetch_micro_batches
        self.ahead: Ahead[MicroBatch] = Ahead(task.micro_batch, depth=self.depth)
        self.describe: Callable[[], dict[str, Any]] = dict
        self.unpack_trainer: Callable[[dict[str, Any]], None] = lambda description: None
        self._per_update = job.batch.micro_batches_per_update
        self._team = Team(member, self)
        self._updates: Callable[[int], Iterator[int]] = lambda start: iter(())
        self._weights: Prefetcher[int] | None = None

    @property
    def leads(self) -> bool:
        """The longest-serving member."""
        return self._team.leads

    @property
    def writes(self) -> bool:
        """The leader writes whole states."""
        return self._team.leads

    @property
    def size(self) -> int:
        """Members."""
        return self._team.size

    @property
    def wait_s(self) -> float:
        """See `Crew`."""
        return self.ahead.wait_s

    def fence(self, notes: RunNotes) -> Fence:
        """One for each leader: what an earlier one still writes is not committed."""
        return Fence.take(notes)

    def enter(self, decide: Decide, begin: Begin) -> bool:
        """See `Crew`."""
        return self._team.enter(decide, begin)

    def word(self, key: str, make: Callable[[], Any]) -> Any:
        """See `Crew`."""
        return self._team.word(key, make)

    def see_to(self, key: str, work: Callable[[], None]) -> None:
        """The leader does it, and the next one when it dies meanwhile."""

        def done() -> bool:
            work()
            return True

        self._team.word(key, done)

    def items(self, update: int) -> range:
        """Micro-batches of an update."""
        return range((update - 1) * self._per_update, update * self._per_update)

    def expect(self, items: Sequence[int], update: int) -> None:
        """Have micro-batches ready, and those of the next update after them."""
        following = next(self._updates(update), None)
        then = share_of(self.items(following), self._team.rank, self._team.size) if following else []
        self.ahead.expect([*items, *then])

    def begin(self, updates: Callable[[int], Iterator[int]], start: int) -> None:
        """See `Crew`."""
        self._updates = updates
        # Every worker counts all: a share that another has counted would be lost with it.
        weigh = self.task.weight
        self._weights = Prefetcher(lambda update: sum(map(weigh, self.items(update))), updates(start), depth=2)

    def rest(self) -> None:
        """See `Crew`."""
        if self._weights is not None:
            self._weights.close()

    def make(self, update: int, lr: float, mine: Signals, *, trace: bool) -> Made:
        """See `Crew`. Signals stay with the worker: only the leader saves, and who leaves leaves alone."""
        assert self._weights is not None
        part = _Update(self, update, float(next(self._weights)))
        engine = self.engine
        engine.train()
        gradient, rows, outside = self._team.add_up(part.items, part, newcomers=True)
        result = engine.finish_with(gradient, outside=bool(outside.item()), lr=lr)
        self.task.after_update(engine.module, update)
        return Made(result, part.rows.totals(rows), mine, [*part.items] if trace else [])

    def measure(self, task: Task[Any], sub_batches: int, update: int) -> dict[str, float]:
        """See `Crew`."""
        part = _HeldOut(self, task, range(sub_batches), update)
        try:
            (rows,) = self._team.add_up(range(sub_batches), part)
        finally:
            part.ahead.close()
        return part.rows.totals(rows)

    def leave(self) -> bool:
        """Alone; the others go on."""
        self._team.leave()
        return True

    def end(self) -> None:
        """See `Crew`."""
        self._team.end()

    def close(self) -> None:
        """Let go of threads and connections."""
        self.ahead.close()
        self._team.close()

    def description(self) -> dict[str, Any]:
        """See `team.Luggage`."""
        own = self.task.state()
        return {
            "engine": live_description(self.engine),
            "task": {
                name: [list(own[name].shape), str(own[name].dtype).removeprefix("torch.")] for name in sorted(own)
            },
            "trainer": self.describe(),
        }

    def tensors(self) -> list[Tensor]:
        """See `team.Luggage`."""
        own = self.task.state()
        return live_tensors(self.engine) + [own[name] for name in sorted(own)]

    def room_for(self, description: dict[str, Any]) -> list[Tensor]:
        """See `team.Luggage`."""
        own = [torch.empty(shape, dtype=getattr(torch, dtype)) for shape, dtype in description["task"].values()]
        return [torch.empty_like(tensor) for tensor in live_tensors(self.engine)] + own

    def unpack(self, description: dict[str, Any], tensors: Sequence[Tensor]) -> None:
        """See `team.Luggage`."""
        names = list(description["task"])
        split = len(tensors) - len(names)
        adopt(self.engine, description["engine"], tensors[:split])
        self.task.load_state(dict(zip(names, tensors[split:], strict=True)))
        self.unpack_trainer(description["trainer"])
