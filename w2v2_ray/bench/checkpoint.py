"""How long a training step stands still while a state is saved, beside `torch.save` of the same state."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from w2v2_ray.engine.distributed import destroy_process_group, init_process_group
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.engine.training_state import snapshot_training_state
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.places.durable import sync
from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.model import EncoderSpec, ModelSpec
from w2v2_ray.spec.optim import OptimSpec


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Save a state once, after a save that is not counted.

    Args:
        settings: `method` ("async": training goes on after the copy; "sync": after the write; "torch.save"), `work`
            (folder), `layers`, `dim` (of the encoder; Base has 12 and 768).

    Returns:
        stall_s, total_s until everything is on the disk, state_bytes, parameters.
    """
    device = torch.device("cpu")
    init_process_group(device)
    try:
        return _measure(settings, device)
    finally:
        destroy_process_group()


def _measure(settings: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    torch.manual_seed(1)
    layers, dim = int(settings["layers"]), int(settings["dim"])
    encoder = EncoderSpec(layers=layers, dim=dim, ffn_dim=4 * dim, heads=dim // 64, hourglass=None)
    model = build_pretrain_model(ModelSpec(encoder=encoder))
    parameters = sum(weight.numel() for weight in model.parameters())
    engine = TrainingEngine(model, optim=OptimSpec(), engine=EngineSpec(precision="fp32"), device=device)
    _step(engine)
    with tempfile.TemporaryDirectory(dir=settings["work"]) as folder:
        save = _torch_save if settings["method"] == "torch.save" else _save
        save(engine, Path(folder) / "first")
        copied_s, total_s = save(engine, Path(folder) / "second")
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) // 2
    engine.destroy()
    stall_s = copied_s if settings["method"] == "async" else total_s
    return {"stall_s": stall_s, "total_s": total_s, "state_bytes": size, "parameters": parameters}


def _step(engine: TrainingEngine) -> None:
    """Give Adam its moments, without the cost of a forward pass."""

    def forward(scale: float) -> Tensor:
        return torch.stack([scale * weight.float().pow(2).sum() for weight in engine.model.parameters()]).sum()

    engine.update([1e-3], count=1, total=engine.world_size, forward=forward, normaliser=1.0, lr=1e-4)


def _plain_state(engine: TrainingEngine) -> dict[str, dict[str, Tensor]]:
    """As much as our state holds: weights and two moments, in fp32. What the moments are does not matter here."""
    weights = {name: weight.detach().float() for name, weight in engine.model.named_parameters()}
    moments = {part: {name: weight.clone() for name, weight in weights.items()} for part in ("first", "second")}
    return {"weights": weights, **moments}


def _save(engine: TrainingEngine, folder: Path) -> tuple[float, float]:
    """Seconds until the state is copied, and until it is on the disk."""
    started = time.perf_counter()
    snapshot = snapshot_training_state(engine)
    copied_s = time.perf_counter() - started
    snapshot.write(folder)
    return copied_s, time.perf_counter() - started


def _torch_save(engine: TrainingEngine, folder: Path) -> tuple[float, float]:
    state, path = _plain_state(engine), folder / "state.pt"
    folder.mkdir()
    started = time.perf_counter()
    torch.save(state, path)
    sync(path)
    total_s = time.perf_counter() - started
    return total_s, total_s
