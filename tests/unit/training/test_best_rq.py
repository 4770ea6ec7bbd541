"""BEST-RQ: labels and loss against a computation of their own, in the virtual world, and a model to use afterwards."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from engine_worlds import Worlds
from trainer_cases import folder_of, metrics_of, train

from w2v2_ray.data.mixture import open_mixture
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.engine.training_state import read_full_weights
from w2v2_ray.run.checkpoints.files import list_checkpoints
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.best_rq import BestRqJob, RandomProjectionSpec
from w2v2_ray.spec.loading import dump_job
from w2v2_ray.spec.model import FeatureEncoderSpec
from w2v2_ray.training.model_source import load_any
from w2v2_ray.training.objectives.best_rq.quantizer import RandomProjectionQuantizer, receptive_field
from w2v2_ray.training.objectives.best_rq.task import BestRqTask, build_model
from w2v2_ray.training.objectives.cropped import build_plan
from w2v2_ray.training.objectives.registry import objective_of

CPU = torch.device("cpu")
ENCODER = FeatureEncoderSpec()


@pytest.fixture
def best_rq_job(make_tiny_job, tmp_path):
    def make(storage=tmp_path, **changes):
        document = make_tiny_job(storage).model_dump(mode="json", exclude={"kind", "loss", "pretrained"})
        targets = {"entries": 32, "mel_bins": 20}
        return BestRqJob.model_validate({**document, "kind": "best_rq", "targets": targets, **changes})

    return make


def run(world, job):
    world.run(train, job.model_dump(mode="json"))


def weights_of(job):
    return read_full_weights(list_checkpoints(folder_of(job).checkpoints)[-1])


def task_of(job):
    data = open_mixture([(ref.path, ref.repeat) for ref in job.data.train], verify="none")
    streams = RandomStreams(job.seed)
    return BestRqTask(job, data, build_plan(job, data.num_samples, streams), streams, CPU)


def mel_filters(bins, rate, count):
    """Triangles between points evenly spread on the mel scale (HTK), as in any textbook; [bins, count]."""
    mel = np.linspace(0.0, 2595 * math.log10(1 + rate / 2 / 700), count + 2)
    points = 700 * (10 ** (mel / 2595) - 1)
    frequencies = np.linspace(0, rate / 2, bins)[:, None]
    rising = (frequencies - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - frequencies) / (points[2:] - points[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def labels_by_hand(spec, seed, waveform):
    """Equation 1 with loops, in double precision; also the distances' margins."""
    from w2v2_ray.data.random_streams import Purpose

    bound = math.sqrt(6 / (spec.mel_bins + spec.dim))
    streams = RandomStreams(seed)
    projection = streams.generator(Purpose.WEIGHTS, 1).uniform(-bound, bound, (spec.mel_bins, spec.dim))
    codebook = streams.generator(Purpose.WEIGHTS, 2).standard_normal((spec.entries, spec.dim))
    codebook /= np.linalg.norm(codebook, axis=1, keepdims=True)
    window = np.hanning(400)
    filters = mel_filters(257, 16_000, spec.mel_bins)
    energies = []
    for start in range(0, len(waveform) - 399, 320):
        spectrum = np.fft.rfft(waveform[start : start + 400] * window, 512)
        energies.append(np.log(np.maximum((np.abs(spectrum) ** 2) @ filters, 1e-10)))
    energies = np.stack(energies)
    energies = (energies - energies.mean(0)) / np.maximum(energies.std(0), 1e-5)
    projected = energies @ projection
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    distances = np.linalg.norm(codebook[None] - projected[:, None], axis=2)
    ordered = np.sort(distances, axis=1)
    return distances.argmin(1), ordered[:, 1] - ordered[:, 0]


def test_labels_are_those_of_equation_1():
    spec = RandomProjectionSpec(entries=64, dim=8, mel_bins=24)
    rng = np.random.default_rng(0)
    waveforms = np.stack([rng.normal(0, 0.1, 9_000), 0.3 * np.sin(np.arange(9_000) ** 1.5 / 900)])
    quantizer = RandomProjectionQuantizer(spec, ENCODER, 7, CPU)
    found = quantizer.labels(torch.from_numpy(waveforms).float()).numpy()
    compared = 0
    for row, waveform in zip(found, waveforms, strict=True):
        labels, margins = labels_by_hand(spec, 7, waveform)
        assert len(labels) == len(row) == ENCODER.num_frames(9_000)
        clear = margins > 1e-3
        np.testing.assert_array_equal(row[clear], labels[clear])
        compared += int(clear.sum())
    assert compared > 45


def test_a_frame_sees_what_the_feature_encoder_sees():
    assert receptive_field(ENCODER) == 400
    odd = FeatureEncoderSpec(conv_layers=((8, 50, 30), (8, 9, 4)))
    quantizer = RandomProjectionQuantizer(RandomProjectionSpec(mel_bins=8), odd, 1, CPU)
    for num_samples in (receptive_field(odd), 500, 1_003, 3_000):
        assert quantizer.labels(torch.randn(1, num_samples)).shape == (1, odd.num_frames(num_samples))


def test_labels_depend_on_the_seed_and_on_nothing_that_is_trained(best_rq_job):
    waveform = torch.randn(1, 8_000)
    spec = RandomProjectionSpec(entries=64)
    one, again, other = (RandomProjectionQuantizer(spec, ENCODER, seed, CPU).labels(waveform) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    names = [name for name, _ in build_model(best_rq_job()).named_parameters()]
    assert [name for name in names if not name.startswith("backbone.")] == ["prediction.weight", "prediction.bias"]


def test_the_loss_is_the_cross_entropy_of_masked_frames(best_rq_job):
    job = best_rq_job()
    task, model = task_of(job), build_model(job).eval()
    batch = task.micro_batch(3)
    loss, counts = task.forward(model, batch, 1)
    sums = dict(zip(task.sums, counts.tolist(), strict=True))
    waveform = batch.waveform.float() / 32768
    with torch.no_grad():
        context = model.backbone(waveform, time_mask=batch.masks).context
        log_probs = model.prediction(context).log_softmax(2)
    labels = RandomProjectionQuantizer(job.targets, job.model.feature_encoder, job.seed, CPU).labels(waveform)
    expected = correct = masked = 0.0
    for row, frame in batch.masks.nonzero().tolist():
        expected -= float(log_probs[row, frame, labels[row, frame]])
        correct += float(log_probs[row, frame].argmax() == labels[row, frame])
        masked += 1
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert sums["loss_sum"] == pytest.approx(expected, rel=1e-5)
    assert (sums["correct"], sums["masked_frames"], task.weight(3)) == (correct, masked, masked)
    assert 1 < sums["label_perplexity"] <= 32
    figures = task.figures(sums)
    assert figures["loss"] == pytest.approx(expected / masked / math.log(2), rel=1e-5)


@pytest.mark.parametrize("size", [2, 3])
def test_loss_and_weights_do_not_depend_on_the_workers(worlds: Worlds, best_rq_job, tmp_path, size):
    alone, together = best_rq_job(tmp_path / "alone"), best_rq_job(tmp_path / "together")
    run(worlds[1], alone)
    run(worlds[size], together)
    assert [record["loss"] for record in metrics_of(alone)] == [record["loss"] for record in metrics_of(together)]
    ours, theirs = weights_of(alone), weights_of(together)
    assert list(ours) == list(theirs)
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name


def test_a_run_gives_a_backbone_to_fine_tune(worlds: Worlds, best_rq_job, finetune_job, tmp_path):
    job = best_rq_job(tmp_path / "pre")
    run(worlds[1], job)
    folder = tmp_path / "pre" / "run"
    folder_of(job).spec.write_text(dump_job(job))
    model = load_any(folder)
    assert model.kind == "backbone"
    assert all(name.startswith("backbone.") for name in model.state)
    tuned = finetune_job({"pretrained": str(folder), "model": None}, updates=6)
    begun = RunFolder(tmp_path / "run")
    begun.create()
    tuned = objective_of(tuned).begin(tuned, begun)
    initial = load_any(begun.initial)
    assert initial.kind == "ctc"
    for name, weight in model.state.items():
        assert torch.equal(initial.state[name], weight), name


def test_a_plan_counts_the_parameters_of_the_model(best_rq_job):
    job = best_rq_job()
    plan = objective_of(job).plan(job)
    assert plan.total_parameters == sum(p.numel() for p in build_model(job).parameters())
    assert plan.masked_frames_per_update > 0


def test_who_trains_with_it_is_told_that_it_is_experimental_until_they_say_so(best_rq_job):
    (finding,) = best_rq_job().advice()
    assert "experimental" in finding.message
    assert list(best_rq_job(experimental=True).advice()) == []
