"""What every task does around a micro-batch: draw the layers to drop, name what is used, put tensors in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from w2v2_ray.data.batch_plan import MicroBatchPlan
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.model.masking import BoolArray
from w2v2_ray.model.varied_masking import draw_spans
from w2v2_ray.spec.model import EncoderSpec, MaskingSpec

_MIN_SPANS = 2  # reference: compute_mask_indices(min_masks=2) for time, 0 for channels


def layer_keep(streams: RandomStreams, encoder: EncoderSpec, index: int) -> tuple[bool, ...] | None:
    """Which Transformer layers micro-batch `index` runs (LayerDrop); None runs all."""
    if not encoder.layer_drop:
        return None
    draws = streams.generator(Purpose.LAYER_DROP, index).random(encoder.layers)
    return tuple(bool(draw >= encoder.layer_drop) for draw in draws)


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


def used_utterances(data: Utterances, plan: MicroBatchPlan) -> list[tuple[int, str]]:
    """(epoch, utterance id) of everything in a micro-batch, for the sample trace."""
    return [
        (epoch, data.utterance_id(int(index)))
        for epoch, part in zip(plan.epochs, plan.utterances, strict=True)
        for index in part
    ]


def filled(values: Sequence[int], device: torch.device) -> Tensor:
    """Numbers known ahead as a float64 tensor on the device, which no one waits for: each is an argument of a kernel.

    Shape: returns [len(values)].
    """
    return torch.stack([torch.full((), value, dtype=torch.float64, device=device) for value in values])


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor where a GPU can fetch it without waiting; as it is for the CPU."""
    return tensor.pin_memory() if device.type == "cuda" else tensor
