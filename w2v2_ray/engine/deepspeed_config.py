"""The DeepSpeed configuration that makes an update the same whatever the number of workers."""

from __future__ import annotations

import math
from typing import Any

from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.optim import OptimSpec

_BUCKET_ELEMENTS = 25_000_000
"""Elements reduced or gathered at once; DeepSpeed's default would hold 2 GB of fp32 buffer for any model."""


def deepspeed_config(optim: OptimSpec, engine: EngineSpec) -> dict[str, Any]:
    """Build DeepSpeed's configuration.

    Gradients are accumulated and communicated in fp32 whatever the precision of the weights: with DeepSpeed's
    default, which communicates in the precision of the weights, two workers part from one by 1e-4 within a few
    updates. Batch sizes are placeholders: `TrainingEngine` decides what an update holds.

    Args:
        optim: The job's optimizer section.
        engine: The job's engine section.
    """
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # TrainingEngine clips at stages 0 and 1 itself.
        "gradient_clipping": (optim.clip_norm or 0.0) if engine.zero_stage > 1 else 0.0,
        "steps_per_print": None,
        "zero_allow_untested_optimizer": True,
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "zero_optimization": {
            "stage": engine.zero_stage,
            "reduce_bucket_size": _BUCKET_ELEMENTS,
            "allgather_bucket_size": _BUCKET_ELEMENTS,
            # Overlapping would reduce while the backward runs: nothing to gain where it waits for the last
            # micro-batch anyway (stages 0 and 1), and stage 3 turns it on by default.
            "overlap_comm": False,
            # Stage 3 would replace torch's linear in the whole process by one that rounds the bias differently.
            "memory_efficient_linear": False,
        },
    }
    if engine.precision == "bf16":
        config["bf16"] = {"enabled": True, "check_grad_overflow": True}
    elif engine.precision == "fp16":
        scale = engine.loss_scale
        config["fp16"] = {
            "enabled": True,
            "loss_scale": 0.0,
            # DeepSpeed takes whole numbers only; TrainingEngine sets the exact first scale and floor afterwards.
            "initial_scale_power": max(0, round(math.log2(scale.initial))),
            "loss_scale_window": scale.window,
            "min_loss_scale": max(1, math.floor(scale.minimum)),
            "hysteresis": 1,
        }
    return config
