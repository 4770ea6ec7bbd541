"""How a step is computed: precision, ZeRO stage, device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from w2v2_ray.spec.base import Finding, Int, PositiveFloat, PositiveInt, Spec


class LossScaleSpec(Spec):
    """Dynamic loss scaling of fp16 (reference section 6)."""

    initial: PositiveFloat = 128.0
    """First scale; a power of two."""
    window: PositiveInt = 2_000
    """Updates without overflow before the scale doubles."""
    minimum: PositiveFloat = 1e-4
    """Floor below which the run is stopped."""

    def broken_rules(self) -> Iterator[Finding]:
        """The scale starts at or above its floor."""
        if self.minimum > self.initial:
            yield Finding(
                f"minimum: {self.minimum:g} is above initial: {self.initial:g}; use a minimum at or below the start",
                ("minimum", "initial"),
            )


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
    threads: Int | None = Field(default=None, ge=1)
    """CPU threads per worker (OMP_NUM_THREADS); null takes `worker.cpus`. Kernels add in another order with
    other thread counts, so it depends neither on the machine nor on how many workers share it."""

    def broken_rules(self) -> Iterator[Finding]:
        """Precision must suit the device and the ZeRO stage."""
        if self.precision == "fp16" and self.device == "cpu":
            yield Finding(
                "precision: fp16 cannot train on device: cpu; use bf16 or fp32, or device: cuda",
                ("precision", "device"),
            )
        if self.zero_stage == 0 and self.precision != "fp32":
            yield Finding(
                f"zero_stage: 0 with precision: {self.precision} would accumulate gradients in {self.precision} "
                "(DeepSpeed keeps no fp32 accumulator there); use zero_stage: 1, which costs nothing on one worker, "
                "or precision: fp32",
                ("zero_stage", "precision"),
            )
