"""How long a training step stands still while a state is saved, beside `torch.save` of the same state."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from w2v2_ray.durable import sync
from w2v2_ray.engine.checkpoint.training_state import snapshot_training_state
from w2v2_ray.engine.distributed import init_process_group
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.model import EncoderSpec, ModelSpec
from w2v2_ray.spec.optim import OptimSpec


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Save a state once, after a save that is not counted.

    Args:
        settings: `method` ("async": training goes on after the copy; "sync": after the write; "torch.save"), `work`
            (folder), `tiny` (a small model, to try it out).

    Returns:
        stall_s, total_s until everything is on the disk, state_bytes.
    """
    device = torch.device("cpu")
    init_process_group(device)
    torch.manual_seed(1)
    encoder = EncoderSpec(dim=96, ffn_dim=192, heads=4) if settings["tiny"] else EncoderSpec()
    model = build_pretrain_model(ModelSpec(encoder=encoder))
    engine = TrainingEngine(model, optim=OptimSpec(), engine=EngineSpec(precision="fp32"), device=device)
    _step(engine)
    with tempfile.TemporaryDirectory(dir=settings["work"]) as folder:
        if settings["method"] == "torch.save":
            state = _plain_state(engine)
            _torch_save(state, Path(folder) / "state.pt")
            stall_s = total_s = _torch_save(state, Path(folder) / "state.pt")
        else:
            snapshot_training_state(engine)
            started = time.perf_counter()
            snapshot = snapshot_training_state(engine)
            stall_s = time.perf_counter() - started
            snapshot.write(Path(folder) / "state")
            total_s = time.perf_counter() - started
            if settings["method"] == "sync":
                stall_s = total_s
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    engine.destroy()
    return {"stall_s": stall_s, "total_s": total_s, "state_bytes": float(size)}


def _step(engine: TrainingEngine) -> None:
    """Give Adam its moments, without the cost of a forward pass."""

    def forward(scale: float) -> Tensor:
        return torch.stack([scale * weight.float().pow(2).sum() for weight in engine.model.parameters()]).sum()

    engine.update([1e-3], count=1, max_count=1, forward=forward, normaliser=1.0, lr=1e-4)


def _plain_state(engine: TrainingEngine) -> dict[str, dict[str, Tensor]]:
    """As much as our state holds: weights and two moments, in fp32. What the moments are does not matter here."""
    weights = {name: weight.detach().float() for name, weight in engine.model.named_parameters()}
    moments = {part: {name: weight.clone() for name, weight in weights.items()} for part in ("first", "second")}
    return {"weights": weights, **moments}


def _torch_save(state: dict[str, Any], path: Path) -> float:
    started = time.perf_counter()
    torch.save(state, path)
    sync(path)
    return time.perf_counter() - started
