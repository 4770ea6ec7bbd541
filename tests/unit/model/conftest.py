"""A model small enough to run in milliseconds, and a micro-batch for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from model_helpers import MicroBatch

from w2v2_ray.model.masking import sample_negatives, span_mask
from w2v2_ray.spec.model import ModelSpec


@pytest.fixture
def small_spec() -> Callable[..., ModelSpec]:
    """Build a small spec; keywords override the encoder's fields, `dropout` sets every dropout."""

    def build(dropout: float = 0.0, **encoder: Any) -> ModelSpec:
        norm = "layer_norm" if encoder.get("norm_first") else "group_norm"
        return ModelSpec.model_validate(
            {
                "feature_encoder": {
                    "conv_layers": [(16, 10, 5), (16, 3, 2), (16, 3, 2), (16, 2, 2)],
                    "norm": norm,
                    "bias": norm == "layer_norm",
                },
                "encoder": {
                    "layers": 4,
                    "dim": 24,
                    "ffn_dim": 32,
                    "heads": 4,
                    "position_kernel": 16,
                    "position_groups": 4,
                    "hourglass": None,
                    "dropout": dropout,
                    "attention_dropout": dropout,
                    "activation_dropout": dropout,
                    **encoder,
                },
                "quantizer": {"codebooks": 2, "entries": 8},
                "final_dim": 16,
                "dropout_input": dropout,
                "dropout_features": dropout,
            }
        )

    return build


@pytest.fixture
def micro_batch(small_spec: Callable[..., ModelSpec]) -> MicroBatch:
    rng = np.random.default_rng(0)
    sizes, samples = [2, 3], 1700
    frames = small_spec().feature_encoder.num_frames(samples)
    masks = [span_mask(rng, size, frames, 0.65, 5) for size in sizes]
    negatives = [sample_negatives(rng, len(mask), int(mask[0].sum()), 6) for mask in masks]
    return MicroBatch(
        torch.from_numpy(rng.standard_normal((sum(sizes), samples), dtype=np.float32)),
        sizes,
        torch.from_numpy(np.concatenate(masks)),
        [torch.from_numpy(negative) for negative in negatives],
    )
