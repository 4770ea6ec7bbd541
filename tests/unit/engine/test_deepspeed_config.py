from __future__ import annotations

import pytest

from w2v2_ray.engine.deepspeed_config import deepspeed_config
from w2v2_ray.spec.engine import EngineSpec, LossScaleSpec
from w2v2_ray.spec.optim import OptimSpec


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_gradients_are_accumulated_and_communicated_in_fp32(precision, stage) -> None:
    config = deepspeed_config(OptimSpec(), EngineSpec(precision=precision, zero_stage=stage))

    assert config["data_types"]["grad_accum_dtype"] == "fp32"
    assert config["communication_data_type"] == "fp32"
    assert config["zero_optimization"]["stage"] == stage
    assert {name for name in ("bf16", "fp16") if name in config} == {precision} - {"fp32"}


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_clipping_is_deepspeeds_at_stages_2_and_3_and_off_without_a_limit(stage: int) -> None:
    engine = EngineSpec(precision="fp32", zero_stage=stage)

    # At 0 and 1 the whole gradient is at hand, and `TrainingEngine` clips it.
    assert deepspeed_config(OptimSpec(clip_norm=3.0), engine)["gradient_clipping"] == (3.0 if stage > 1 else 0.0)
    assert deepspeed_config(OptimSpec(clip_norm=None), engine)["gradient_clipping"] == 0.0


def test_loss_scaling_follows_the_spec_and_never_waits_before_backing_off() -> None:
    spec = EngineSpec(precision="fp16", loss_scale=LossScaleSpec(initial=1024.0, window=300))
    fp16 = deepspeed_config(OptimSpec(), spec)["fp16"]

    assert (fp16["loss_scale"], fp16["initial_scale_power"], fp16["loss_scale_window"]) == (0.0, 10, 300)
    assert fp16["hysteresis"] == 1
