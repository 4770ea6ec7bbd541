"""Optimizer and learning-rate policy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from w2v2_ray.spec.base import Float, NonNegativeFloat, NonNegativeInt, PositiveFloat, Probability, Spec


class PolySchedule(Spec):
    """Linear warm-up, hold, then polynomial decay (reference: `lr_policy=poly`)."""

    policy: Literal["poly"] = "poly"
    warmup_updates: NonNegativeInt = 32_000
    """Updates of linear warm-up from `initial_scale`."""
    hold_updates: NonNegativeInt = 0
    """Updates at the peak."""
    initial_scale: Probability = 0.0
    """Learning rate at the start, as a share of the peak."""
    final_scale: Probability = 0.0
    """Learning rate at the last update, as a share of the peak."""
    power: PositiveFloat = 1.0
    """Exponent of the decay; 1 is linear."""


class ExpSchedule(Spec):
    """Linear warm-up, hold, then exponential decay (reference: `lr_policy=exp`)."""

    policy: Literal["exp"] = "exp"
    warmup_updates: NonNegativeInt = Field(examples=[32_000])
    """Updates of linear warm-up from `initial_scale`."""
    hold_updates: NonNegativeInt = Field(examples=[128_000])
    """Updates at the peak."""
    initial_scale: Probability = 0.01
    """Learning rate at the start, as a share of the peak."""
    final_scale: Float = Field(default=0.05, gt=0.0, le=1.0)
    """Learning rate at the last update, as a share of the peak; above zero, since the decay is exponential."""


DEFAULT_POLICY = "poly"
"""What a schedule without `policy` means."""

ScheduleSpec = Annotated[PolySchedule | ExpSchedule, Field(discriminator="policy")]


class OptimSpec(Spec):
    """AdamW as the reference uses it: decoupled decay, global norm clipping."""

    lr: PositiveFloat = 5e-4
    """Peak learning rate."""
    schedule: ScheduleSpec = PolySchedule()
    """How the learning rate changes over the updates."""
    betas: tuple[Annotated[Float, Field(ge=0, lt=1)], Annotated[Float, Field(ge=0, lt=1)]] = (0.9, 0.98)
    """Decay of the first and second moment."""
    eps: PositiveFloat = 1e-6
    """Term added to the denominator."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay."""
    clip_norm: PositiveFloat | None = 25.0
    """Global gradient norm above which gradients are scaled down, or null."""

    @field_validator("schedule", mode="before")
    @classmethod
    def _default_policy(cls, value: Any) -> Any:
        if isinstance(value, dict) and "policy" not in value:
            return {"policy": DEFAULT_POLICY, **value}
        return value
