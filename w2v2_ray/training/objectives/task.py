"""What the trainer asks of a kind of training: its micro-batches, their loss, and what is counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from w2v2_ray.data.batch_plan import BatchPlan


class MicroBatch(Protocol):
    """A micro-batch ready for the device; what else it holds is its task's business."""

    @property
    def index(self) -> int:
        """Position in the stream."""
        ...


M = TypeVar("M", bound=MicroBatch)


class Task(Protocol[M]):
    """One kind of training on one dataset.

    Attributes:
        plan: Its micro-batches.
        sums: Names of what `forward` counts, in their order; `frames` and `samples` are among them.
    """

    plan: BatchPlan
    sums: tuple[str, ...]

    def weight(self, index: int) -> int:
        """A micro-batch's share of the update's normaliser, known before any forward pass."""
        ...

    def micro_batch(self, index: int) -> M:
        """Read and draw everything micro-batch `index` needs. Runs on loader threads."""
        ...

    def forward(self, module: nn.Module, batch: M, update: int) -> tuple[Tensor, Tensor]:
        """Loss of a micro-batch, summed over what `weight` counts, and the `sums` as float64 on the device.

        The module's mode (train or eval) is the caller's. It seeds its own randomness.
        """
        ...

    def figures(self, totals: Mapping[str, float]) -> dict[str, float]:
        """What totals of the `sums`, over any number of micro-batches, say. `loss` is among them."""
        ...

    def settings(self, update: int) -> dict[str, float]:
        """What this update was computed with and a metrics line should say."""
        ...

    def used(self, index: int) -> list[tuple[int, str]]:
        """(epoch, utterance id) of everything in a micro-batch, for the sample trace."""
        ...

    def after_update(self, module: nn.Module, update: int) -> None:
        """Do what follows an update, such as moving a teacher after its student; on every worker alike."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Tensors of the task's own, the same on every worker, which checkpoints keep beside the weights."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take them back; empty where a checkpoint has none.

        Raises:
            CheckpointError: When they are not what the task needs.
        """
        ...


class Stateless:
    """What a task without state of its own inherits."""

    def after_update(self, module: nn.Module, update: int) -> None:
        """Nothing follows."""

    def state(self) -> dict[str, Tensor]:
        """None."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """There is none to take."""


@dataclass(frozen=True)
class Training:
    """What a worker trains.

    Attributes:
        model: With its initial weights, the same on every worker.
        task: Training micro-batches.
        validation: Held-out ones, or None.
        fingerprint: Identity of the training data.
    """

    model: nn.Module
    task: Task[Any]
    validation: Task[Any] | None
    fingerprint: str
