"""Masks as a job asks for them. Imports no torch: planning draws some too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from w2v2_ray.model.masking import BoolArray
from w2v2_ray.model.varied_masking import draw_spans
from w2v2_ray.spec.model import MaskingSpec

_MIN_SPANS = 2  # reference: compute_mask_indices(min_masks=2) for time, 0 for channels


def draw_time_mask(
    rng: np.random.Generator,
    masking: MaskingSpec,
    batch: int,
    frames: int,
    lengths: Sequence[int] | None = None,
) -> BoolArray:
    """Masked frames of a sub-batch. Shape: returns [B, T]."""
    return draw_spans(
        rng,
        batch,
        frames,
        masking.probability,
        masking.length_frames,
        _MIN_SPANS,
        selection=masking.selection,
        other=masking.other,
        no_overlap=masking.no_overlap,
        min_space=masking.min_space,
        lengths=lengths,
    )


def draw_channel_mask(rng: np.random.Generator, masking: MaskingSpec, batch: int, channels: int) -> BoolArray:
    """Zeroed channels of a sub-batch. Shape: returns [B, D]."""
    return draw_spans(
        rng,
        batch,
        channels,
        masking.channel_probability,
        masking.channel_length,
        0,
        selection=masking.channel_selection,
        other=masking.channel_other,
        no_overlap=masking.channel_no_overlap,
        min_space=masking.channel_min_space,
    )
