"""What the workers of `engine_worlds` are asked to do: runs in which something goes wrong on purpose."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from trainer_cases import Hooks, StopError, train

from w2v2_ray.engine.training_state import HostSnapshot
from w2v2_ray.training.objectives.pretraining.task import PretrainMicroBatch, PretrainTask


def train_poisoned(job: dict[str, Any], updates: list[int], factor: float, **how: Any) -> Hooks:
    """Train; the loss and gradient of these updates' micro-batches are multiplied by `factor` (NaN, say)."""
    honest = PretrainTask.forward

    def forward(task: PretrainTask, module: nn.Module, batch: PretrainMicroBatch, update: int) -> tuple[Tensor, Tensor]:
        loss, counts = honest(task, module, batch, update)
        if update in updates and module.training:
            scale = torch.ones_like(counts)
            scale[:2] = factor
            return loss * factor, counts * scale
        return loss, counts

    with patch.object(PretrainTask, "forward", forward):
        return train(job, **how)


def train_with_full_disk(job: dict[str, Any], failing: list[int], rank: int, **how: Any) -> Hooks:
    """Train; the saves with these numbers, from 0, fail on one worker after they have written something."""
    honest = HostSnapshot.write
    saves = iter(range(1_000_000))

    def write(snapshot: HostSnapshot, folder: Path) -> list[Path]:
        written = honest(snapshot, folder)
        if next(saves) in failing and snapshot.world_rank == rank:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written

    with patch.object(HostSnapshot, "write", write):
        return train(job, **how)


@dataclasses.dataclass
class LeavingHooks(Hooks):
    """A node is drained at an update, as one worker alone has heard."""

    leave_at: int = 0
    left_at: int = 0

    def must_leave(self) -> bool:
        last = dist.get_rank() == dist.get_world_size() - 1
        return last and len(self.updates) + 1 == self.leave_at

    def leave(self, update: int) -> None:
        self.left_at = update
        raise StopError("left")


@dataclasses.dataclass
class ResizedHooks(Hooks):
    """Worker 0 is asked for a state at an update."""

    asked_at: int = 0

    def wants_state(self) -> bool:
        return dist.get_rank() == 0 and len(self.updates) + 1 == self.asked_at


def train_until_drained(job: dict[str, Any], leave_at: int) -> int:
    """Train until a node is drained; where the workers left."""
    with patch("trainer_cases.Hooks", lambda *args: LeavingHooks(*args, leave_at=leave_at)):
        hooks = train(job)
    assert isinstance(hooks, LeavingHooks)
    return hooks.left_at


def train_asked(job: dict[str, Any], asked_at: int, stop_at: int) -> None:
    """Train with a state asked for, and stop in the middle."""
    with patch("trainer_cases.Hooks", lambda *args: ResizedHooks(*args, asked_at=asked_at)):
        train(job, stop_at=stop_at)
