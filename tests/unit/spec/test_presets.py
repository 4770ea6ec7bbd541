"""The published recipes, number by number (reference section 5)."""

from __future__ import annotations

import pytest

from w2v2_ray.spec.loading import load_job_text

CONVOLUTIONS = ((512, 10, 5), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 2, 2), (512, 2, 2))

COMMON = {
    "model.feature_encoder.conv_layers": CONVOLUTIONS,
    "model.encoder.position_kernel": 128,
    "model.encoder.position_groups": 16,
    "model.encoder.activation_dropout": 0.0,
    "model.quantizer.codebooks": 2,
    "model.quantizer.entries": 320,
    "model.quantizer.temperature_start": 2.0,
    "model.quantizer.temperature_decay": 0.999995,
    "model.masking.probability": 0.65,
    "model.masking.length_frames": 10,
    "model.masking.channel_probability": 0.0,
    "model.sample_rate": 16_000,
    "loss.negatives": 100,
    "loss.logit_temperature": 0.1,
    "loss.diversity_weight": 0.1,
    "batch.size_multiple": 8,
    "batch.min_samples": 32_000,
    "optim.schedule.policy": "poly",
    "optim.schedule.power": 1.0,
    "optim.schedule.warmup_updates": 32_000,
    "optim.schedule.hold_updates": 0,
    "optim.schedule.initial_scale": 0.0,
    "optim.schedule.final_scale": 0.0,
    "optim.betas": (0.9, 0.98),
    "optim.eps": 1e-6,
    "optim.weight_decay": 0.01,
    "optim.clip_norm": 25.0,
}

BASE = {
    "model.encoder.layers": 12,
    "model.encoder.dim": 768,
    "model.encoder.ffn_dim": 3072,
    "model.encoder.heads": 12,
    "model.encoder.norm_first": False,
    "model.feature_encoder.norm": "group_norm",
    "model.feature_encoder.bias": False,
    "model.feature_encoder.gradient_scale": 0.1,
    "model.normalize_waveform": False,
    "model.encoder.hourglass.pre_layers": 2,
    "model.encoder.hourglass.middle_layers": 8,
    "model.encoder.hourglass.shorten_factor": 4,
    "model.encoder.hourglass.post_layers": 2,
    "model.encoder.hourglass.resample": "naive",
    "model.encoder.dropout": 0.1,
    "model.encoder.attention_dropout": 0.1,
    "model.dropout_input": 0.1,
    "model.dropout_features": 0.1,
    "model.encoder.layer_drop": 0.05,
    "model.final_dim": 256,
    "model.quantizer.temperature_stop": 0.5,
    "loss.features_penalty_weight": 10.0,
    "batch.max_tokens": 1_400_000,
    "batch.sub_batches_per_update": 64,
    "batch.max_samples": 250_000,
    "updates": 400_000,
    "optim.lr": 5e-4,
}

LARGE = {
    "model.encoder.layers": 24,
    "model.encoder.dim": 1024,
    "model.encoder.ffn_dim": 4096,
    "model.encoder.heads": 16,
    "model.encoder.norm_first": True,
    "model.feature_encoder.norm": "layer_norm",
    "model.feature_encoder.bias": True,
    "model.feature_encoder.gradient_scale": 1.0,
    "model.normalize_waveform": True,
    "model.encoder.hourglass": None,
    "model.encoder.dropout": 0.0,
    "model.encoder.attention_dropout": 0.0,
    "model.dropout_input": 0.0,
    "model.dropout_features": 0.0,
    "model.encoder.layer_drop": 0.0,
    "model.final_dim": 768,
    "model.quantizer.temperature_stop": 0.1,
    "loss.features_penalty_weight": 0.0,
    "batch.max_tokens": 1_200_000,
    "batch.sub_batches_per_update": 128,
    "batch.concat": 1,
    "batch.max_samples": 320_000,
    "updates": 800_000,
    "optim.lr": 5e-3,
}


def value_at(job, path):
    for part in path.split("."):
        job = getattr(job, part)
    return job


@pytest.mark.parametrize(("preset", "recipe"), [("base", {**COMMON, **BASE}), ("large", {**COMMON, **LARGE})])
def test_the_preset_is_the_published_recipe(preset, recipe):
    job = load_job_text(f"kind: pretrain\npreset: {preset}\nname: x\ndata: {{train: a}}\n", "job.yaml").job
    assert {path: value_at(job, path) for path in recipe} == recipe


def test_without_a_preset_the_defaults_are_base():
    text = "kind: pretrain\nname: x\ndata: {train: a}\n"
    assert load_job_text(text, "a").job == load_job_text(text + "preset: base\n", "b").job
