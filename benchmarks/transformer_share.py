"""Print which share of a pre-training job's arithmetic each part has: `python benchmarks/transformer_share.py JOB`.

Counts multiplications and additions of one forward and backward pass over one utterance, with torch's counter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from w2v2_ray.model.masking import sample_negatives, span_mask
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.loading import load_job
from w2v2_ray.spec.sweep import SweepSpec
from w2v2_ray.spec.sweep_loading import load_sweep
from w2v2_ray.training.objectives.pretraining.task import build_model

PARTS = {"feature encoder": "feature_encoder", "positional convolution": "pos_conv", "Transformer": "stack"}


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    loaded = load_job(options.job, options.overrides)
    job = load_sweep(options.job, options.overrides).base.job if isinstance(loaded.job, SweepSpec) else loaded.job
    assert isinstance(job, PretrainJob)
    for name, total in count(job, round(options.seconds * 16_000)).items():
        print(f"{name:24} {total / 1e9:10.2f} GFLOP")


def count(job: PretrainJob, num_samples: int) -> dict[str, int]:
    """Operations by part, of one utterance."""
    rng = np.random.default_rng(1)
    frames = job.model.feature_encoder.num_frames(num_samples)
    mask = span_mask(rng, 1, frames, job.model.masking.probability, job.model.masking.length_frames)
    negatives = sample_negatives(rng, 1, int(mask[0].sum()), job.loss.negatives)
    model = build_model(job)
    counter = FlopCounterMode(display=False, depth=6)
    with counter:
        output = model(
            torch.randn(1, num_samples),
            (1,),
            torch.from_numpy(mask),
            [torch.from_numpy(negatives)],
            gumbel_temperature=1.0,
            layer_keep=None,
        )
        output.loss_sum.backward()
    sums = {name: sum(entry.values()) for name, entry in counter.get_flop_counts().items()}
    found = {"all": sums["Global"]}
    for part, last in PARTS.items():
        found[part] = max((total for name, total in sums.items() if name.rpartition(".")[2] == last), default=0)
    return found


if __name__ == "__main__":
    main()
