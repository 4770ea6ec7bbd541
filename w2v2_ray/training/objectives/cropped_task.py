"""The part of a task that is the same wherever masked frames of crops are predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.loader import CropLoader, CroppedMicroBatch
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.model.masking import BoolArray
from w2v2_ray.model.waveforms import INT16_SCALE
from w2v2_ray.spec.job import MaskedJob
from w2v2_ray.training.objectives.cropped import mask_drawer
from w2v2_ray.training.objectives.drawing import layer_keep, pinned, used_utterances
from w2v2_ray.training.objectives.task import Stateless


@dataclass(frozen=True)
class MaskedMicroBatch:
    """A micro-batch ready for the device.

    Attributes:
        index: Position in the stream.
        waveform: int16 PCM. Shape: [B, S].
        sub_batch_sizes: Utterances of each sub-batch.
        masks: True = masked; every row of a sub-batch has as many. Shape: [B, T].
        masked_frames: Of a row, for each sub-batch.
        layer_keep: Which Transformer layers run; None runs all.
    """

    index: int
    waveform: Tensor
    sub_batch_sizes: tuple[int, ...]
    masks: Tensor
    masked_frames: tuple[int, ...]
    layer_keep: tuple[bool, ...] | None


class CroppedTask(Stateless):
    """Crops, masks and what they weigh.

    Args:
        job: The spec.
        data: What to read.
        plan: Its micro-batches.
        streams: Random streams of this domain.
        device: Where to compute.
    """

    def __init__(
        self, job: MaskedJob, data: Utterances, plan: BatchPlan, streams: RandomStreams, device: torch.device
    ) -> None:
        self.plan = plan
        self._model = job.model
        self._data = data
        self._streams = streams
        self._device = device
        self._loader = CropLoader(data, plan, streams)
        self._draw_masks = mask_drawer(job, plan, streams)

    def weight(self, index: int) -> int:
        """Masked frames of a micro-batch."""
        return sum(int(mask.sum()) for mask in self._draw_masks(index))

    def used(self, index: int) -> list[tuple[int, str]]:
        """(epoch, utterance id) of everything in a micro-batch."""
        return used_utterances(self._data, self.plan.micro_batch(index))

    def _load(self, index: int) -> tuple[CroppedMicroBatch, tuple[BoolArray, ...]]:
        return self._loader.load(index), self._draw_masks(index)

    def _masked(self, index: int, cropped: CroppedMicroBatch, masks: tuple[BoolArray, ...]) -> MaskedMicroBatch:
        return MaskedMicroBatch(
            index=index,
            waveform=self._host(torch.from_numpy(cropped.waveform)),
            sub_batch_sizes=cropped.plan.sub_batch_sizes,
            masks=self._host(torch.from_numpy(np.concatenate(masks))),
            masked_frames=tuple(int(mask[0].sum()) for mask in masks),
            layer_keep=layer_keep(self._streams, self._model.encoder, index),
        )

    def _waveform(self, batch: MaskedMicroBatch) -> Tensor:
        """Samples in [-1, 1), or scaled as the model wants them. Shape: [B, S]."""
        waveform = self._to_device(batch.waveform).float().mul_(INT16_SCALE)
        if not self._model.normalize_waveform:
            return waveform
        return torch.nn.functional.layer_norm(waveform, waveform.shape[-1:], eps=self._model.normalize_eps)

    def _host(self, tensor: Tensor) -> Tensor:
        return pinned(tensor, self._device)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, non_blocking=True)
