"""One pre-training micro-batch, the same for every peer: audio, masks, negatives, first weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.model.masking import sample_negatives, span_mask
from w2v2_ray.spec.model import ContrastiveLossSpec, EncoderSpec, ModelSpec

Variant = Literal["plain", "hourglass"]
Precision = Literal["fp32", "bf16"]

SAMPLE_RATE = 16_000
NEGATIVES = 100
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class StepSettings:
    """What a step is measured on; see `w2v2-ray bench step`.

    Attributes:
        implementation: Whose model.
        variant: Without or with the Hourglass [2, (8, 4), 2].
        precision: Of weights and activations.
        rows: Utterances of a sub-batch.
        seconds: Of each utterance.
        concat: Sub-batches forwarded at once.
        device: "cpu" or "cuda".
        steps: Measured, after one that is not.
        layers: Transformer layers; the recipe has 12.
        peer_path: Checkout of the NVIDIA reference.
    """

    implementation: str
    variant: Variant
    precision: Precision
    rows: int
    seconds: float
    concat: int = 1
    device: str = "cpu"
    steps: int = 2
    layers: int = 12
    peer_path: str | None = None

    @property
    def batch(self) -> int:
        """Utterances in all."""
        return self.rows * self.concat

    @property
    def samples(self) -> int:
        """Of each utterance."""
        return round(self.seconds * SAMPLE_RATE)

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> StepSettings:
        """From the JSON of a request."""
        return cls(**settings)


@dataclass(frozen=True)
class StepInput:
    """What is computed on, as the model of this package takes it.

    Shape:
        waveform [B, S] fp32, masks [B, T], negatives of [b, M, N]
    """

    waveform: Tensor
    masks: Tensor
    negatives: list[Tensor]
    sub_batch_sizes: list[int]


def base_spec(variant: str, layers: int) -> ModelSpec:
    """Base, every dropout as in the recipe; no LayerDrop, so that all peers run all layers."""
    encoder: dict[str, Any] = {"layers": layers, "layer_drop": 0.0}
    if variant == "plain":
        encoder["hourglass"] = None
    else:
        outer = min(2, layers // 3)
        encoder["hourglass"] = {
            "pre_layers": outer,
            "middle_layers": layers - 2 * outer,
            "post_layers": outer,
            "shorten_factor": 4,
        }
    return ModelSpec(encoder=EncoderSpec.model_validate(encoder))


def model_spec(settings: StepSettings) -> ModelSpec:
    """The network of a step."""
    return base_spec(settings.variant, settings.layers)


def first_weights(spec: ModelSpec) -> dict[str, Tensor]:
    """The weights all peers start from, by our names."""
    torch.manual_seed(0)
    return build_pretrain_model(spec, ContrastiveLossSpec(negatives=NEGATIVES)).state_dict()


def step_input(settings: StepSettings, spec: ModelSpec) -> StepInput:
    """Noise of a varying loudness, spans and negatives drawn as the recipe does."""
    rng = np.random.default_rng(1)
    frames = spec.feature_encoder.num_frames(settings.samples)
    loudness = 0.05 + 0.1 * np.abs(np.sin(np.linspace(0, 9, settings.samples)))
    waveform = loudness * rng.standard_normal((settings.batch, settings.samples))
    masks = [
        span_mask(rng, settings.rows, frames, spec.masking.probability, spec.masking.length_frames)
        for _ in range(settings.concat)
    ]
    negatives = [sample_negatives(rng, len(mask), int(mask[0].sum()), NEGATIVES) for mask in masks]
    return StepInput(
        waveform=torch.from_numpy(waveform.astype(np.float32)),
        masks=torch.from_numpy(np.concatenate(masks)),
        negatives=[torch.from_numpy(part) for part in negatives],
        sub_batch_sizes=[settings.rows] * settings.concat,
    )
