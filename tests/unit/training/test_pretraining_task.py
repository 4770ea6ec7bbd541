"""A micro-batch is drawn and computed alike by whoever gets it, in whichever order."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from w2v2_ray.data.mixture import open_mixture
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.training.objectives.cropped import build_plan
from w2v2_ray.training.objectives.pretraining.task import (
    SUMS,
    PretrainMicroBatch,
    PretrainTask,
    build_model,
)

CPU = torch.device("cpu")


def task_of(job: PretrainJob, domain: str = "train") -> PretrainTask:
    data = open_mixture([(ref.path, ref.repeat) for ref in job.data.train], verify="none")
    streams = RandomStreams(job.seed, domain)
    return PretrainTask(
        job, data, build_plan(job, data.num_samples, streams, validation=domain == "validation"), streams, CPU
    )


def assert_equal(one: PretrainMicroBatch, other: PretrainMicroBatch) -> None:
    assert torch.equal(one.waveform, other.waveform)
    assert torch.equal(one.masks, other.masks)
    assert all(torch.equal(a, b) for a, b in zip(one.negatives, other.negatives, strict=True))
    assert one.layer_keep == other.layer_keep
    assert one.sub_batch_sizes == other.sub_batch_sizes


def loss_of(task: PretrainTask, model: torch.nn.Module, batch: PretrainMicroBatch) -> float:
    return float(task.forward(model, batch, 1)[0].detach())


def test_a_micro_batch_is_the_same_whoever_asks_and_in_whichever_order(tiny_job):
    first, second = task_of(tiny_job()), task_of(tiny_job())
    forwards = [first.micro_batch(index) for index in range(20)]
    backwards = [second.micro_batch(index) for index in reversed(range(20))]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert_equal(one, other)


def test_the_frames_counted_ahead_are_those_that_the_model_masks(tiny_job):
    job = tiny_job({"batch.concat": 5})
    task, model = task_of(job), build_model(job)
    for index in (0, 3):
        batch = task.micro_batch(index)
        _, counts = task.forward(model, batch, 1)
        sums = dict(zip(SUMS, counts.tolist(), strict=True))
        assert task.weight(index) == int(batch.masks.sum()) == sums["masked_frames"]
        assert sums["frames"] == batch.masks.numel()
        assert sums["samples"] == batch.waveform.numel()
        assert sums["sub_batches"] == len(batch.sub_batch_sizes) == 5


def test_the_loss_of_a_micro_batch_does_not_depend_on_what_ran_before(tiny_job):
    job = tiny_job()
    task, model = task_of(job), build_model(job)
    model.train()
    batches = [task.micro_batch(index) for index in range(3)]
    in_order = [loss_of(task, model, batch) for batch in batches]
    torch.manual_seed(99)
    reversed_order = [loss_of(task, model, batch) for batch in reversed(batches)]
    assert in_order == reversed_order[::-1]
    assert len(set(in_order)) == 3


def test_dropout_and_layer_drop_act_in_training_only(tiny_job):
    job = tiny_job()
    task, model = task_of(job), build_model(job)
    dropped = next(batch for batch in map(task.micro_batch, range(50)) if not all(batch.layer_keep))
    model.eval()
    evaluated = loss_of(task, model, dropped)
    model.train()
    assert loss_of(task, model, dropped) != evaluated
    kept = [keep for index in range(200) for keep in task.micro_batch(index % 40).layer_keep]
    assert 0.5 < np.mean(kept) < 0.9
    assert task_of(tiny_job({"model.encoder.layer_drop": 0.0})).micro_batch(0).layer_keep is None


def test_the_temperature_of_the_update_reaches_the_quantizers_gradient(tiny_job):
    job = tiny_job()
    task, model = task_of(job), build_model(job)
    batch = task.micro_batch(0)
    model.train()
    gradients = []
    for update in (1, 10):
        model.zero_grad()
        task.forward(model, batch, update)[0].backward()
        gradients.append(model.quantizer.logits_proj.weight.grad.clone())
    assert not torch.allclose(*gradients)


class CaughtError(Exception):
    """Carries what the model was given."""


class CatchWaveform(torch.nn.Module):
    def forward(self, waveform: torch.Tensor, *args: object, **options: object) -> None:
        raise CaughtError(waveform)


@pytest.mark.parametrize("normalize", [False, True])
def test_the_model_is_given_the_waveform_in_floats_normalised_when_the_spec_says_so(tiny_job, normalize: bool):
    task = task_of(tiny_job({"model.normalize_waveform": normalize}))
    batch = task.micro_batch(0)
    with pytest.raises(CaughtError) as caught:
        task.forward(CatchWaveform(), batch, 1)
    (waveform,) = caught.value.args
    expected = batch.waveform.double() / 32768
    if normalize:
        expected = (expected - expected.mean(1, keepdim=True)) / (expected.var(1, correction=0, keepdim=True)).sqrt()
    # The 1e-5 that layer_norm adds to a variance of about 0.02.
    torch.testing.assert_close(waveform.double(), expected, rtol=1e-3, atol=1e-5)


def test_validation_shares_no_draw_with_training(tiny_job):
    train, validation = task_of(tiny_job()), task_of(tiny_job(), "validation")
    assert not torch.equal(train.micro_batch(0).waveform[:1], validation.micro_batch(0).waveform[:1])
    assert task_of(tiny_job({"batch.concat": 5}), "validation").plan.concat == 1


def test_initial_weights_follow_from_the_seed_alone(tiny_job):
    torch.manual_seed(1)
    one = build_model(tiny_job()).state_dict()
    torch.manual_seed(2)
    other = build_model(tiny_job()).state_dict()
    third = build_model(tiny_job(seed=2)).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], third[name]) for name in one)


def test_ids_are_those_of_the_utterances_read(tiny_job):
    task = task_of(tiny_job())
    batch = task.micro_batch(0)
    used = task.used(batch.index)
    assert {epoch for epoch, _ in used} == {0}
    ids = [utterance for _, utterance in used]
    assert len(ids) == len(batch.waveform)
    assert len(set(ids)) == len(ids)
    longest = {f"{number:02d}" for number in range(2, 36)}
    assert set(ids) <= longest


def test_figures_are_per_masked_frame_in_bits_and_per_sub_batch(tiny_job):
    values = dict.fromkeys(SUMS, 0.0) | {
        "loss_sum": 70.0,
        "contrastive": 60.0,
        "correct": 5.0,
        "masked_frames": 20.0,
        "code_perplexity": 90.0,
        "sub_batches": 3.0,
    }
    figures = task_of(tiny_job()).figures(values)
    assert figures["loss"] == pytest.approx(3.5 / math.log(2))
    assert figures["loss_contrastive"] == pytest.approx(3.0 / math.log(2))
    assert figures["accuracy"] == 0.25
    assert figures["code_perplexity"] == 30.0


OPTIONS = {
    "loss.cross_sample_negatives": 3,
    "loss.codebook_negatives": 2,
    "model.masking.selection": "poisson",
    "model.masking.no_overlap": True,
    "model.quantizer.depth": 2,
    "model.quantizer.factor": 1,
    "model.target_glu": True,
    "model.encoder.activation": "silu",
}


@pytest.mark.parametrize("concat", [1, 5])
def test_masks_and_further_distractors_are_the_same_whoever_asks(tiny_job, concat: int):
    job = tiny_job(OPTIONS | {"batch.concat": concat})
    first, second, model = task_of(job), task_of(job), build_model(job)
    forwards = [first.micro_batch(index) for index in range(4)]
    backwards = [second.micro_batch(index) for index in reversed(range(4))]
    assert loss_of(first, model, forwards[1]) == loss_of(second, model, backwards[2])
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert_equal(one, other)
        for name in ("cross_negatives", "codebook_negatives"):
            pairs = list(zip(getattr(one, name), getattr(other, name), strict=True))
            assert len(pairs) == concat
            assert all(torch.equal(a, b) for a, b in pairs)
        assert first.weight(one.index) == int(one.masks.sum())
        frames = one.masked_frames
        for rows, masked, cross in zip(one.sub_batch_sizes, frames, one.cross_negatives, strict=True):
            assert cross.shape == (rows, masked, 3)
            assert cross.max() < rows * masked  # within the sub-batch


def test_without_further_distractors_nothing_is_drawn_for_them(tiny_job):
    batch = task_of(tiny_job()).micro_batch(0)
    assert batch.cross_negatives is None
    assert batch.codebook_negatives is None
