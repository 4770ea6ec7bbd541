from __future__ import annotations

import json

import pytest

from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.noise import NoiseUtterances
from w2v2_ray.spec.loading import load_job_text
from w2v2_ray.tune.process import run_trial

JOB = """kind: pretrain
preset: tiny
name: x
data: {train: a}
batch: {max_tokens: 32_000, max_samples: 32_000, sub_batches_per_update: 1}
engine: {threads: 1}
"""


@pytest.fixture
def run(tmp_path):
    """`run(["optim.lr=1"], memory_limit_bytes=1)` measures a tiny job on noise in a process of its own."""

    def measure(overrides=(), *, timeout_s=120.0, **changes):
        job = load_job_text(JOB, "job.yaml", overrides).job
        request = {
            "mode": "measure",
            "job": {"kind": job.kind, **job.model_dump(mode="json")},
            "run": str(tmp_path / "run"),
            "sharing_node": 1,
            "measure": {"warmup_updates": 0, "timed_updates": 2, "noise": True, **changes},
        }
        return run_trial(request, timeout_s=timeout_s, log=tmp_path / "log")

    return measure


def test_a_trial_gives_speed_and_memory(run):
    outcome = run()
    assert (outcome.status, outcome.reason) == ("ok", None)
    figures = outcome.figures
    assert len(figures["step_s"]) == 2
    assert figures["frames"] == 2 * 99  # two updates of one utterance of 2 s
    assert figures["frames_per_s"] == pytest.approx(figures["frames"] / sum(figures["step_s"]))
    assert 0 < figures["masked_frames_per_s"] < figures["frames_per_s"]
    assert figures["state_bytes"] < figures["peak_memory_bytes"] <= figures["reserved_memory_bytes"]


def test_running_out_of_memory_is_an_outcome_with_a_reason(run):
    # One tensor of the first layer is larger than what is allowed, so that it is a tensor for which there is no room.
    large = ["batch.max_tokens=3_200_000", "model.feature_encoder.conv_layers=" + json.dumps([[512, 10, 5]] * 3)]
    outcome = run(large, memory_limit_bytes=400_000_000)
    assert outcome.status == "out_of_memory"
    assert outcome.reason
    assert outcome.figures["held_bytes"] < 400_000_000


def test_a_loss_that_is_no_number_is_an_outcome_with_a_reason(run):
    outcome = run(["optim.lr=1e12", "optim.schedule.warmup_updates=0"])
    assert outcome.status == "not_finite"
    assert "at update 2" in outcome.reason


def test_a_trial_that_takes_too_long_is_ended(run):
    assert run(timeout_s=0.1).status == "timed_out"


def test_a_crash_is_an_outcome_with_its_last_words(tmp_path):
    outcome = run_trial({"mode": "measure", "job": {"kind": "nothing"}}, timeout_s=60.0, log=tmp_path / "log")
    assert outcome.status == "crashed"
    assert "KeyError" in outcome.reason


def test_noise_has_the_shape_of_a_dataset():
    noise = NoiseUtterances(5, 1_000, 3_000, seed=1)
    assert isinstance(noise, Utterances)
    assert noise.num_samples.tolist() == [1_000, 1_500, 2_000, 2_500, 3_000]
    assert (noise.audio(4)[10:20] == noise.crop(4, 10, 10)).all()
    assert not (noise.crop(1, 0, 100) == noise.crop(2, 0, 100)).all()
    assert noise.fingerprint == NoiseUtterances(5, 1_000, 3_000, seed=1).fingerprint
    assert noise.fingerprint != NoiseUtterances(5, 1_000, 3_000, seed=2).fingerprint
