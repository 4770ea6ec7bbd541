"""What the workers of `engine_worlds` are asked to do: train a tiny network of every kind of layer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.engine.distributed import (
    barrier,
    broadcast_object,
    gather_objects,
    world_rank,
    world_size,
)
from w2v2_ray.engine.training_engine import TrainingEngine, UpdateResult
from w2v2_ray.engine.training_state import load_training_state, snapshot_training_state
from w2v2_ray.errors import CheckpointError
from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.optim import OptimSpec

MICRO_BATCHES = 5
NORMALISER = 50.0
DEVICE = torch.device("cpu")


def save_training_state(engine: TrainingEngine, folder: Path) -> list[Path]:
    """Save the state; every rank calls it and writes its own share, the index last."""
    snapshot = snapshot_training_state(engine)
    written = snapshot.write_share(folder)
    barrier()
    written += snapshot.write_index(folder)
    barrier()
    return written


@dataclass(frozen=True)
class Setup:
    """How an engine is built; sent to the workers."""

    precision: Literal["fp32", "bf16"] = "fp32"
    zero_stage: Literal[0, 1, 2, 3] = 1
    clip_norm: float | None = 0.05
    frozen: bool = False
    layer_drop: bool = False
    hidden: int = 13
    seed: int = 7
    rename: bool = False
    in_dataclass: bool = False

    def __str__(self) -> str:
        return f"{self.precision}-zero{self.zero_stage}"


@dataclass
class Output:
    """What DeepSpeed does not look into."""

    loss: Tensor


class TinyNet(nn.Module):
    """Convolution, layer norm, dropout, a layer that is sometimes dropped, a weight used by functional access."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        torch.manual_seed(setup.seed)
        self.conv = nn.Conv1d(1, 4, 3)
        self.norm = nn.LayerNorm(4)
        self.middle = nn.Linear(4, 4)
        self.dropped = nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.3)
        self.hidden = nn.Linear(4, setup.hidden)
        self.head_name = "tail" if setup.rename else "head"
        self.add_module(self.head_name, nn.Linear(setup.hidden, 1))
        self.functional = nn.Parameter(torch.randn(3, 4))
        self.in_dataclass = setup.in_dataclass
        if setup.frozen:
            self.conv.requires_grad_(False)

    def forward(self, x: Tensor, keep: bool, skip: bool) -> Tensor | Output:
        x = x.to(self.norm.weight.dtype)
        x = self.norm(F.gelu(self.conv(x)).transpose(1, 2))
        x = self.dropout(x + self.middle(x))
        if keep or not skip:
            y = x + self.dropped(x)
            x = y if keep else torch.where(torch.zeros((), dtype=torch.bool), y, x)
        x = x + F.linear(x, self.functional.t() @ self.functional)
        head = self.get_submodule(self.head_name)
        loss = head(self.dropout(F.gelu(self.hidden(x)))).float().pow(2).sum()
        return Output(loss) if self.in_dataclass else loss


def data(update: int, index: int) -> Tensor:
    generator = torch.Generator().manual_seed(1_000 * update + index)
    return torch.randn(2, 1, 12, generator=generator)


def optim_of(setup: Setup) -> OptimSpec:
    return OptimSpec(clip_norm=setup.clip_norm, weight_decay=0.1)


def lr_of(update: int) -> float:
    return 0.002 * (update + 1)


def loss_of(module: Any, setup: Setup, update: int, index: int, skip: bool) -> Tensor:
    torch.manual_seed(100 * update + index)
    output = module(data(update, index), not setup.layer_drop or index % 3 != 1, skip)
    return output.loss if setup.in_dataclass else output


def train_without_deepspeed(setup: Setup, updates: int) -> list[dict[str, Any]]:
    """The oracle: torch alone, on one process, in fp32."""
    net, spec = TinyNet(setup), optim_of(setup)
    adam = torch.optim.AdamW(net.parameters(), betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay)
    records = []
    for update in range(updates):
        adam.param_groups[0]["lr"] = lr_of(update)
        adam.zero_grad()
        losses = {index: loss_of(net, setup, update, index, False) for index in range(MICRO_BATCHES)}
        (sum(losses.values()) / NORMALISER).backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), spec.clip_norm or float("inf"))
        adam.step()
        records.append({"losses": {i: loss.item() for i, loss in losses.items()}, "norm": norm.item()})
    return records


@contextmanager
def engine_for(setup: Setup) -> Iterator[TrainingEngine]:
    engine = TrainingEngine(
        TinyNet(setup),
        optim=optim_of(setup),
        engine=EngineSpec(precision=setup.precision, zero_stage=setup.zero_stage, device="cpu"),
        device=DEVICE,
    )
    try:
        yield engine
    finally:
        engine.destroy()


def step(
    engine: TrainingEngine, setup: Setup, update: int, micro_batches: int = MICRO_BATCHES, factor: float = 1.0
) -> tuple[dict[int, float], UpdateResult]:
    """One update; returns this rank's losses by micro-batch, and the result."""
    losses: dict[int, float] = {}

    def forward(index: int) -> Tensor:
        loss = loss_of(engine.module, setup, update, index, engine.layer_drop_mode == "skip")
        losses[index] = loss.item()
        return loss * factor

    mine = list(range(engine.world_rank, micro_batches, engine.world_size))
    result = engine.update(
        mine or [0],
        count=len(mine),
        total=micro_batches,
        forward=forward,
        normaliser=NORMALISER,
        lr=lr_of(update),
    )
    return {index: losses[index] for index in mine}, result


def train(
    setup: Setup,
    first: int,
    last: int,
    load: Path | None = None,
    save: Path | None = None,
    micro_batches: int = MICRO_BATCHES,
) -> list[dict[str, Any]]:
    """Train updates first to last; returns for each this rank's losses and the norm."""
    with engine_for(setup) as engine:
        if load is not None:
            load_training_state(engine, load)
        records = []
        for update in range(first, last):
            losses, result = step(engine, setup, update, micro_batches)
            records.append({"losses": losses, "norm": result.grad_norm, "overflow": result.overflow})
        if save is not None:
            save_training_state(engine, save)
        return records


def merged(by_rank: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One record an update from those of all ranks."""
    merged = []
    for records in zip(*by_rank, strict=True):
        losses = {index: loss for record in records for index, loss in record["losses"].items()}
        assert len({record["norm"] for record in records}) == 1
        merged.append({"losses": losses, "norm": records[0]["norm"], "total": sum(losses[i] for i in sorted(losses))})
    return merged


def largest_difference(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> float:
    """Largest relative difference of an update's loss or gradient norm."""
    assert len(ours) == len(theirs)
    return max(
        abs(a[key] - b[key]) / abs(b[key]) for a, b in zip(ours, theirs, strict=True) for key in ("total", "norm")
    )


def overflow_case(setup: Setup, folder: Path) -> list[bool]:
    """An update, one of infinite gradient, and one more; saves around the bad one."""
    with engine_for(setup) as engine:
        overflows = [step(engine, setup, 0)[1].overflow]
        save_training_state(engine, folder / "before")
        bad = step(engine, setup, 1, factor=float("inf") if engine.world_rank == 0 else 1.0)[1]
        save_training_state(engine, folder / "after")
        assert bad.grad_norm == float("inf")
        return [*overflows, bad.overflow, step(engine, setup, 2)[1].overflow]


def snapshot_case(setup: Setup, folder: Path) -> None:
    """Train on between taking a snapshot and writing it."""
    with engine_for(setup) as engine:
        step(engine, setup, 0)
        save_training_state(engine, folder / "saved")
        snapshot = snapshot_training_state(engine)
        step(engine, setup, 1)
        snapshot.write(folder / "snapshot")
        barrier()


def refused_load_case(setup: Setup, load: Path, folder: Path) -> str:
    """Try to load; returns the message. Saves around it."""
    with engine_for(setup) as engine:
        step(engine, setup, 0)
        save_training_state(engine, folder / "before")
        try:
            load_training_state(engine, load)
        except CheckpointError as error:
            save_training_state(engine, folder / "after")
            return error.message
    return "loaded"


def rank_seeds_case(setup: Setup, folder: Path) -> None:
    """Every rank starts from other weights."""
    with engine_for(replace(setup, seed=dist.get_rank())) as engine:
        save_training_state(engine, folder)


def misuse_case(setup: Setup) -> list[str]:
    """Calls of `update` that make no sense."""
    messages = []
    with engine_for(setup) as engine:
        for share, count, total, normaliser in (
            ([0], 2, 1, 1.0),
            ([0], 1, 1, 0.0),
            ([0], 1, 1, float("nan")),
            ([0], 2, 2, 1.0),
            ([], 0, 1, 1.0),
        ):
            try:
                engine.update(
                    share,
                    count=count,
                    total=total,
                    forward=lambda index: loss_of(engine.module, setup, 0, index, False),
                    normaliser=normaliser,
                    lr=0.1,
                )
            except ValueError as error:
                messages.append(str(error))
    return messages


def modes(setup: Setup) -> list[bool]:
    """Whether the module says that it is trained: at first, in evaluation mode, and afterwards."""
    with engine_for(setup) as engine:
        engine.train()
        found = [engine.module.training]
        engine.eval()
        found.append(engine.module.training)
        engine.train()
        return [*found, engine.module.training]


def collectives_case() -> dict[str, Any]:
    rank = dist.get_rank()
    return {
        "gathered": gather_objects(f"rank {rank}"),
        "broadcast": broadcast_object({"from": rank} if rank == 0 else None),
        "local_size": os.environ.get("LOCAL_SIZE"),
        "world": (world_rank(), world_size()),
    }
