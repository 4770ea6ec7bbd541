"""What the trainer asks of the workers together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from w2v2_ray.engine.training_engine import UpdateResult
from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.notes import RunNotes
from w2v2_ray.training.checkpointer import Signals
from w2v2_ray.training.objectives.task import Task


@dataclass
class Made:
    """What an update made, the same on every worker.

    Attributes:
        result: What became of the weights.
        totals: The task's sums over all its micro-batches.
        signals: What the workers told each other with it.
        used: Micro-batches of it, where they are traced: each as often as it was computed for it.
    """

    result: UpdateResult
    totals: dict[str, float]
    signals: Signals
    used: list[int] = field(default_factory=list)


Decide = Callable[[], dict[str, Any]]
Begin = Callable[[dict[str, Any]], None]


class Crew(Protocol):
    """The workers of a run, as one of them sees them. Every method is called by all of them, in the same order."""

    @property
    def leads(self) -> bool:
        """Whether this worker writes logs and decides. In a crew that changes it may come to do so at any call."""
        ...

    @property
    def writes(self) -> bool:
        """Whether this worker has a part in saving states."""
        ...

    @property
    def size(self) -> int:
        """Workers now."""
        ...

    @property
    def wait_s(self) -> float:
        """Seconds that this worker has waited for its data."""
        ...

    def fence(self, notes: RunNotes) -> Fence:
        """Take the run over from earlier attempts. On workers that write."""
        ...

    def enter(self, decide: Decide, begin: Begin) -> bool:
        """Come together.

        Args:
            decide: On the leader, when nobody has weights: what to begin from.
            begin: On everybody then: begin from it.

        Returns:
            Whether this worker was given its state by another instead.
        """
        ...

    def word(self, key: str, make: Callable[[], Any]) -> Any:
        """What the leader makes, plain JSON, on everybody.

        Args:
            key: Names it; used once in a run.
            make: On the leader alone.
        """
        ...

    def see_to(self, key: str, work: Callable[[], None]) -> None:
        """Do something on every worker that writes, and wait until it is done."""
        ...

    def begin(self, updates: Callable[[int], Iterator[int]], start: int) -> None:
        """Make ready the micro-batches of what comes.

        Args:
            updates: Those after an update that are to be computed.
            start: The update before them.
        """
        ...

    def rest(self) -> None:
        """Make no more ready."""
        ...

    def make(self, update: int, lr: float, mine: Signals, *, trace: bool) -> Made:
        """Make an update.

        Args:
            update: Its number.
            lr: Its learning rate.
            mine: What this worker has to tell.
            trace: Tell which micro-batches it was.
        """
        ...

    def measure(self, task: Task[Any], sub_batches: int, update: int) -> dict[str, float]:
        """The sums of a held-out task over its first sub-batches."""
        ...

    def leave(self) -> bool:
        """This worker goes; its state is safe. Returns whether somebody else tells of it."""
        ...

    def end(self) -> None:
        """All updates are made."""
        ...
