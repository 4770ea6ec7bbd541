"""kind: finetune: the published recipes, and what is refused."""

from __future__ import annotations

import pytest

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.finetune import FinetuneJob
from w2v2_ray.spec.loading import dump_job, load_job_text

HEAD = "kind: finetune\nname: x\npretrained: runs/p\ndata: {train: a, validation: b}\n"


def load(text: str) -> FinetuneJob:
    job = load_job_text(text, "job.yaml").job
    assert isinstance(job, FinetuneJob)
    return job


# Reference section 5: updates, peak LR, frozen updates, mask p, channel p, tokens and sub-batches of an update.
PUBLISHED = {
    "base_960h": (320_000, 1e-4, 0, 0.5, 0.1, 3_200_000, 8),
    "base_100h": (80_000, 3e-5, 0, 0.65, 0.5, 3_200_000, 8),
    "base_10h": (20_000, 5e-5, 10_000, 0.65, 0.5, 3_200_000, 8),
    "base_1h": (13_000, 5e-5, 10_000, 0.65, 0.25, 3_200_000, 8),
    "large_960h": (320_000, 3e-5, 10_000, 0.5, 0.25, 1_280_000, 24),
    "large_100h": (80_000, 3e-5, 10_000, 0.5, 0.5, 1_280_000, 16),
    "large_960h_cv": (80_000, 2e-5, 0, 0.25, 0.5, 1_280_000, 24),
}


@pytest.mark.parametrize(("preset", "recipe"), PUBLISHED.items())
def test_presets_are_the_published_recipes(preset, recipe):
    job = load(HEAD + f"preset: {preset}\n")
    updates, lr, frozen, mask, channels, tokens, sub_batches = recipe
    assert (job.updates, job.optim.lr, job.freeze_updates) == (updates, lr, frozen)
    assert (job.masking.probability, job.masking.channel_probability) == (mask, channels)
    assert (job.batch.max_tokens, job.batch.sub_batches_per_update) == (tokens, sub_batches)
    schedule = job.optim.schedule
    assert schedule.policy == "exp"
    assert (schedule.warmup_updates, schedule.hold_updates) == (updates // 10, updates * 4 // 10)
    assert (schedule.initial_scale, schedule.final_scale) == (0.01, 0.05)
    assert (job.optim.betas, job.optim.eps, job.optim.weight_decay, job.optim.clip_norm) == ((0.9, 0.98), 1e-8, 0, None)
    assert (job.regularisation.layer_drop, job.regularisation.activation_dropout) == (0.1, 0.1)
    assert job.regularisation.feature_gradient_scale == 0.0


def test_the_defaults_are_the_base_recipe_for_960_hours():
    bare, preset = load(HEAD), load(HEAD + "preset: base_960h\n")
    for part in ("optim", "updates", "freeze_updates", "masking", "regularisation", "batch"):
        assert getattr(bare, part) == getattr(preset, part)


def test_a_job_writes_itself_out_and_reads_back():
    job = load(HEAD + 'preset: base_10h\ntext: {replace: {\u2019: "\'"}, unknown: map}\n')
    assert load(dump_job(job)) == job


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD.replace("pretrained: runs/p\n", ""), "pretrained: missing; name a run, checkpoint or model file"),
        (HEAD + "vocabulary: {path: a, symbols: [A]}\n", "path and symbols are both set"),
        (HEAD + "freeze_updates: 5\noptim: {weight_decay: 0.1}\n", "decay would shrink the frozen weights"),
        (HEAD.replace(", validation: b", "") + "early_stopping: {patience: 2}\n", "early_stopping needs held-out data"),
        (HEAD + "batch: {max_tokens: 1000}\n", "max_tokens: 1000 is below max_samples: 640000"),
        (HEAD + "batch: {min_samples: 100}\n", "unknown key `min_samples`"),
        (HEAD + "text: {unknown: ignore}\n", "text.unknown: ignore"),
        (HEAD + "preset: base\n", "preset: base: no such preset for kind finetune"),
        (HEAD + "loss: {negatives: 5}\n", "unknown key `loss`"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(SpecError) as caught:
        load_job_text(text, "job.yaml")
    assert message in caught.value.message
