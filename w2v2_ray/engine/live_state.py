"""The training state as live tensors, to hand it from one worker to another without a disk between. ZeRO 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from w2v2_ray.engine import fragments
from w2v2_ray.engine.training_engine import TrainingEngine


def live_tensors(engine: TrainingEngine) -> list[Tensor]:
    """Masters and moments, as views; moments that Adam has not made yet are made, zero.

    Workers of the same model, precision and stage, each its own whole world, have them in the same order and shapes.
    """
    if not fragments.has_moments(engine):
        fragments.set_adam_step(engine, 0)
    return [
        tensor
        for fragment in fragments.resident_fragments(engine)
        for tensor in (fragment.weight, *(fragment.moment(engine.adam, kind) for kind in fragments.MOMENTS))
    ]


def live_description(engine: TrainingEngine) -> dict[str, Any]:
    """What of the state is no tensor, as plain JSON."""
    return {"step": fragments.adam_step(engine), "loss_scale": fragments.loss_scale_state(engine)}


def adopt(engine: TrainingEngine, description: Mapping[str, Any], tensors: Sequence[Tensor]) -> None:
    """Take over another worker's state.

    Args:
        engine: Whose state is replaced.
        description: The other's `live_description`.
        tensors: Its `live_tensors`.
    """
    for mine, theirs in zip(live_tensors(engine), tensors, strict=True):
        mine.copy_(theirs)
    fragments.set_adam_step(engine, description["step"])
    fragments.set_loss_scale_state(engine, description["loss_scale"])
    fragments.refresh_weights(engine)
