"""How a step is computed: precision, ZeRO stage, device."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from w2v2_ray.spec.base import PositiveFloat, PositiveInt, Spec


class LossScaleSpec(Spec):
    """Dynamic loss scaling of fp16 (reference section 6)."""

    initial: PositiveFloat = 128.0
    """First scale; a power of two."""
    window: PositiveInt = 2_000
    """Updates without overflow before the scale doubles."""
    minimum: PositiveFloat = 1e-4
    """Floor below which the run is stopped."""


class EngineSpec(Spec):
    """The DeepSpeed engine. Master weights and gradient accumulation are fp32 whatever the precision."""

    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """Type of weights and activations. fp16 needs a GPU."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """ZeRO partitioning: 1 optimizer state, 2 also gradients, 3 also weights; 0 none (fp32 only)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes the GPU that Ray gives the worker, else the CPU."""
    loss_scale: LossScaleSpec = LossScaleSpec()
    """Used by fp16 alone."""
    activation_checkpointing: bool = False
    """Recompute Transformer layers in the backward pass: less memory, about a third more time."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads per worker (OMP_NUM_THREADS); null divides the node's cores among its workers."""

    @model_validator(mode="after")
    def _precision_fits(self) -> EngineSpec:
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision: fp16 cannot train on device: cpu; use bf16 or fp32, or device: cuda")
        if self.zero_stage == 0 and self.precision != "fp32":
            raise ValueError(
                f"zero_stage: 0 with precision: {self.precision} would accumulate gradients in {self.precision} "
                "(DeepSpeed keeps no fp32 accumulator there); use zero_stage: 1, which costs nothing on one worker, "
                "or precision: fp32"
            )
        return self
