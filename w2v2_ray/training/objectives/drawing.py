"""What every task does around a micro-batch: draw the layers to drop, name what is used, put tensors in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from w2v2_ray.data.batch_plan import MicroBatchPlan
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.spec.model import EncoderSpec


def layer_keep(streams: RandomStreams, encoder: EncoderSpec, index: int) -> tuple[bool, ...] | None:
    """Which Transformer layers micro-batch `index` runs (LayerDrop); None runs all."""
    if not encoder.layer_drop:
        return None
    draws = streams.generator(Purpose.LAYER_DROP, index).random(encoder.layers)
    return tuple(bool(draw >= encoder.layer_drop) for draw in draws)


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
