"""`like_reference: true`: each deliberate difference, turned to the reference's way, against a plain account of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.model.factory import build_ctc_model
from w2v2_ray.model.feature_encoder import FeatureEncoder
from w2v2_ray.model.hourglass import HourglassStack
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.model import QuantizerSpec
from w2v2_ray.spec.optim import OptimSpec
from w2v2_ray.training.objectives.data import open_data
from w2v2_ray.training.objectives.finetuning.objective import FinetuneObjective, tokenizer_of
from w2v2_ray.training.objectives.finetuning.selection import select_utterances
from w2v2_ray.training.objectives.finetuning.start import resolve
from w2v2_ray.training.objectives.finetuning.task import build_plan
from w2v2_ray.training.objectives.pretraining.task import build_model
from w2v2_ray.training.schedules import gumbel_temperature, learning_rate
from w2v2_ray.training.validation import Validator

CPU = torch.device("cpu")
UPDATES = 20


def plain_poly(step: int, warmup: int, hold: int) -> float:
    """Peak 1, power 1: what the reference sets after `step` updates."""
    if step <= warmup:
        return step / warmup
    return 1.0 if step <= warmup + hold else 1 - (step - warmup) / (UPDATES - warmup)


@pytest.mark.parametrize("hold", [0, 5])
def test_the_rate_is_an_update_late_and_jumps_where_a_hold_ends(hold: int) -> None:
    schedule = {"policy": "poly", "warmup_updates": 4, "hold_updates": hold}
    optim = OptimSpec.model_validate({"lr": 1.0, "schedule": schedule})
    rate, found = plain_poly(1, 4, hold), []
    for update in range(1, UPDATES + 1):
        found.append(rate)
        rate = plain_poly(update, 4, hold)
    ours = [learning_rate(optim, UPDATES, update, like_reference=True) for update in range(1, UPDATES + 1)]
    assert ours == pytest.approx(found)
    assert ours != pytest.approx([learning_rate(optim, UPDATES, update) for update in range(1, UPDATES + 1)])


def test_the_temperature_begins_a_decay_below_its_start() -> None:
    spec = QuantizerSpec(temperature_start=2.0, temperature_stop=0.5, temperature_decay=0.9)
    found = [gumbel_temperature(spec, update, like_reference=True) for update in (1, 2, 100)]
    assert found == pytest.approx([1.8, 1.62, 0.5])


def test_gradients_are_clipped_in_half_precision_alone(tiny_job: Any) -> None:
    norms = {
        (like, precision): tiny_job(
            {"engine.precision": precision, "optim.clip_norm": 25.0}, like_reference=like
        ).applied_optim.clip_norm
        for like in (False, True)
        for precision in ("fp32", "bf16")
    }
    assert norms == {(False, "fp32"): 25.0, (False, "bf16"): 25.0, (True, "fp32"): None, (True, "bf16"): 25.0}


def test_it_is_another_run(tiny_job: Any) -> None:
    plain, like = tiny_job(), tiny_job(like_reference=True)
    assert "like_reference" not in plain.identity()
    assert like.identity() == {**plain.identity(), "like_reference": "true"}


def test_diversity_is_that_of_the_last_sub_batch(tiny_job: Any) -> None:
    for like, which in ((False, "each"), (True, "last")):
        model = cast("Any", build_model(tiny_job(like_reference=like)))
        assert model.concat_diversity == which
    unused = model._diversity(torch.tensor([10.0, 4.0]), [3, 2]) / model.diversity_weight
    codes = model.quantizer.num_codes
    assert float(unused) == pytest.approx(5 * (codes - 4.0) / codes)


def test_padded_frames_count_in_a_shortened_one(finetune_job: Any) -> None:
    spec = finetune_job().model
    models = [build_ctc_model(spec, 9, like_reference=like).eval() for like in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    ours, theirs = (model.backbone.encoder.stack for model in models)
    assert isinstance(ours, HourglassStack)
    assert isinstance(theirs, HourglassStack)
    k = ours.shorten_factor
    x = torch.randn(2, 3 * k, spec.encoder.dim)
    padding = torch.arange(3 * k) >= torch.tensor([[3 * k], [k + 1]])
    pooled, mask = theirs._shorten(x, padding)
    torch.testing.assert_close(pooled, F.avg_pool1d(x.transpose(1, 2), k).transpose(1, 2))
    assert mask is not None
    assert mask.tolist() == [[False] * 3, [False, False, True]]
    assert not torch.equal(ours(x, padding)[1, 0], theirs(x, padding)[1, 0])
    torch.testing.assert_close(ours(x, padding)[0], theirs(x, padding)[0])


def test_padded_samples_count_in_the_group_norm() -> None:
    encoder = FeatureEncoder([(8, 10, 5), (8, 3, 2)], padding_counts=True)
    waveform, lengths = torch.randn(2, 400), torch.tensor([400, 200])
    torch.testing.assert_close(encoder(waveform, lengths), encoder(waveform))


def test_the_backbone_thaws_an_update_sooner_and_long_audio_is_kept(finetune_job: Any, tmp_path: Any) -> None:
    changes = {"batch.max_samples": 10_000, "batch.max_tokens": 60_000, "optim.weight_decay": 0.0}
    used, frozen = [], []
    for like in (False, True):
        job = finetune_job(changes, name=f"like-{like}", freeze_updates=3, like_reference=like)
        run = RunFolder(tmp_path / job.name)
        run.create()
        job = resolve(job, run)
        task = FinetuneObjective().set_up(job, run, CPU).task
        frozen.append([task.settings(update)["backbone_frozen"] for update in (2, 3, 4)])
        data = open_data(job, job.data.train)
        selection = select_utterances(job, data, tokenizer_of(job))
        used.append(selection.census.usable)
        plan = build_plan(job, data, selection, RandomStreams(job.seed))
        assert (plan.cropped_long == 0) is like
    assert frozen == [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    assert used[0] < used[1] == len(data)


def test_all_of_the_held_out_audio_is_measured(tiny_job: Any) -> None:
    class Crew:
        def measure(self, task: Any, total: int, update: int) -> dict[str, float]:
            return {"measured": float(total)}

    engine: Any = nn.Identity()
    task: Any = SimpleNamespace(plan=SimpleNamespace(sub_batches_per_epoch=9), figures=lambda totals: totals)
    crew: Any = Crew()
    found = []
    for like in (False, True):
        job = tiny_job({"validation.max_sub_batches": 4}, like_reference=like)
        found.append(Validator(job, engine, task, crew).measure(1)["measured"])
    assert found == [4.0, 9.0]
