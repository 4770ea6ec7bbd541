from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.loading import load_job_text
from w2v2_ray.training.objectives import masked_plan
from w2v2_ray.training.objectives.registry import objective_of
from w2v2_ray.training.run_plan import state_bytes_per_worker

JOB = """
kind: pretrain
preset: tiny
name: x
data: {train: a}
elastic: {max_workers: 8}
batch: {max_tokens: 320000, sub_batches_per_update: 8, min_samples: 16000, max_samples: 160000}
"""


class Lengths:
    """A dataset of which only the lengths matter here."""

    shares = ()

    def __init__(self, num_samples):
        self.num_samples = np.asarray(num_samples, dtype=np.int32)
        self.hours = float(self.num_samples.sum() / 16_000 / 3600)

    def __len__(self):
        return len(self.num_samples)


def planned(job):
    return objective_of(job).plan(job)


@pytest.fixture
def plan_of(monkeypatch):
    def make(lengths, *options):
        monkeypatch.setattr(masked_plan, "open_data", lambda *args, **options: Lengths(lengths))
        return planned(load_job_text(JOB, "job.yaml", options).job)

    return make


def test_a_plan_counts_what_is_dropped_kept_and_cropped(plan_of):
    data = plan_of([8_000] * 3 + [48_000] * 90 + [400_000] * 7).data
    assert (data.utterances, data.dropped_short, data.kept, data.cropped_long) == (100, 3, 97, 7)


def test_epochs_updates_and_audio_follow_from_the_cut(plan_of):
    # 320 000 tokens hold 8 utterances of 40 000 samples: 160 of them are 20 sub-batches, 2.5 updates of 8.
    plan = plan_of([40_000] * 160, "updates=300")
    assert plan.sub_batches_per_epoch == 20
    assert plan.micro_batches_per_epoch == 20
    assert plan.updates_per_epoch == 2.5
    assert plan.epochs == 120
    assert plan.audio_s_per_update == 8 * 8 * 2.5
    assert plan.data.hours_per_epoch == plan.data.hours
    assert plan.frames_per_update == 8 * 8 * 124


def test_micro_batches_are_cropped_to_their_shortest_sub_batch(plan_of):
    lengths = [40_000] * 8 + [20_000] * 16
    apart, together = plan_of(lengths), plan_of(lengths, "batch.concat=2", "elastic.max_workers=1")
    assert apart.sub_batches_per_epoch == together.sub_batches_per_epoch == 2
    assert apart.data.hours_per_epoch == pytest.approx((8 * 40_000 + 16 * 20_000) / 16_000 / 3600)
    assert together.data.hours_per_epoch == pytest.approx(24 * 20_000 / 16_000 / 3600)


@pytest.mark.shared
def test_expected_masked_frames_agree_with_the_reference_statistics(plan_of, shared_dir):
    statistics = json.loads((shared_dir / "golden" / "recipe.json").read_text())["mask_statistics"]
    for entry in statistics:
        samples = entry["frames"] * 320 + 80
        plan = plan_of(
            [samples] * entry["batch"] * 4,
            f"batch.max_tokens={samples * entry['batch']}",
            f"batch.max_samples={samples}",
            f"model.masking.probability={entry['mask_prob']}",
            f"model.masking.length_frames={entry['mask_length']}",
        )
        share = plan.masked_frames_per_update / plan.frames_per_update
        assert plan.frames_per_update == 8 * entry["batch"] * entry["frames"]
        assert share == pytest.approx(entry["mean_masked_fraction"], abs=0.008)


def test_the_expectation_is_the_same_every_time(plan_of):
    lengths = np.random.default_rng(0).integers(16_000, 160_000, 200)
    assert plan_of(lengths).masked_frames_per_update == plan_of(lengths).masked_frames_per_update


def test_every_worker_count_has_its_share(plan_of):
    workers = plan_of([40_000] * 160).workers
    assert [share.workers for share in workers] == list(range(1, 9))
    assert [(share.min_micro_batches, share.max_micro_batches) for share in workers[:4]] == [
        (8, 8),
        (4, 4),
        (2, 3),
        (2, 2),
    ]
    assert workers[2].efficiency == pytest.approx(8 / 9)


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ({"precision": "bf16", "zero_stage": 1}, (2000, 12000, 3000)),
        ({"precision": "bf16", "zero_stage": 2}, (2000, 1000, 3000)),
        ({"precision": "bf16", "zero_stage": 3}, (500, 1000, 3000)),
        ({"precision": "fp32", "zero_stage": 0}, (4000, 12000, 8000)),
        ({"precision": "fp32", "zero_stage": 1}, (4000, 12000, 2000)),
    ],
)
def test_zero_divides_state_among_workers(engine, expected):
    assert state_bytes_per_worker(EngineSpec(**engine), 1000, 4) == expected


def test_a_plan_is_plain_data(plan_of):
    document = plan_of([40_000] * 160).as_dict()
    assert json.loads(json.dumps(document)) == document | {"workers": list(document["workers"])}
    assert document["checkpoint_bytes"] == 12 * document["total_parameters"]
    assert document["workers"][0]["state_bytes"] > 0


def test_planning_needs_no_torch():
    code = (
        "import sys; import w2v2_ray.training.objectives.registry, w2v2_ray.training.objectives.masked_plan; "
        "print({'torch', 'ray', 'deepspeed'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_recognisers_plan_tells_what_is_left_out_padded_and_written_with(finetune_job):
    job = finetune_job({"batch.max_samples": 15_000})
    plan = planned(job)
    data = plan.data
    assert data.utterances == 36
    assert data.left_out["too_long"] > 0
    assert data.kept == 36 - sum(data.left_out.values())
    assert (data.dropped_short, data.cropped_long) == (0, 0)
    assert set("ABC") <= set(plan.symbols)
    assert plan.masked_frames_per_update is None
    assert data.hours_per_epoch >= sum(n for n in range(4_800, 15_001, 400)) / 16_000 / 3600
    assert plan.parameters["head"] == (job.model.encoder.dim + 1) * len(plan.symbols)
    assert plan.epochs == pytest.approx(job.updates * 5 / plan.sub_batches_per_epoch)
