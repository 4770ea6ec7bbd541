"""What pre-training does with a micro-batch: draw masks and negatives, forward, count.

All draws are keyed by the micro-batch's position in the stream (`data/random_streams.py`), so it does not matter
which worker runs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.loader import CropLoader
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.model.masking import BoolArray, sample_negatives, span_mask
from w2v2_ray.model.pretraining import PretrainOutput
from w2v2_ray.model.waveforms import INT16_SCALE
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.training.objectives.drawing import filled, layer_keep, pinned, used_utterances
from w2v2_ray.training.schedules import gumbel_temperature

SUMS: tuple[str, ...] = (
    "loss_sum",
    "contrastive",
    "diversity",
    "features_penalty",
    "correct",
    "prob_perplexity",
    "code_perplexity",
    "masked_frames",
    "frames",
    "samples",
    "sub_batches",
)
"""What is counted for every micro-batch, in this order."""


@dataclass(frozen=True)
class PretrainMicroBatch:
    """A micro-batch ready for the device.

    Attributes:
        index: Position in the stream.
        waveform: int16 PCM. Shape: [B, S].
        sub_batch_sizes: Utterances of each sub-batch.
        masks: True = masked. Shape: [B, T].
        negatives: Per sub-batch, places among the utterance's masked frames. Shapes: [b, M, N].
        layer_keep: Which Transformer layers run; None runs all.
        utterances: Dataset indices in batch order. Shape: [B].
        epochs: Epoch of each sub-batch.
    """

    index: int
    waveform: Tensor
    sub_batch_sizes: tuple[int, ...]
    masks: Tensor
    negatives: tuple[Tensor, ...]
    layer_keep: tuple[bool, ...] | None
    utterances: np.ndarray[tuple[int], np.dtype[np.int32]]
    epochs: tuple[int, ...]


class PretrainTask:
    """Pre-training on one dataset, as the trainer sees it.

    Args:
        job: The spec.
        data: What to read.
        plan: Its micro-batches.
        streams: Random streams of this domain.
        device: Where to compute.
    """

    def __init__(
        self, job: PretrainJob, data: Utterances, plan: BatchPlan, streams: RandomStreams, device: torch.device
    ) -> None:
        self.sums: tuple[str, ...] = SUMS
        self.plan = plan
        self._job = job
        self._data = data
        self._streams = streams
        self._device = device
        self._loader = CropLoader(data, plan, streams)
        self._draw_masks = lru_cache(maxsize=4 * job.batch.micro_batches_per_update + 8)(self._masks)

    def weight(self, index: int) -> int:
        """Masked frames of a micro-batch."""
        return sum(int(mask.sum()) for mask in self._draw_masks(index))

    def micro_batch(self, index: int) -> PretrainMicroBatch:
        """Read and draw everything micro-batch `index` needs. Runs on loader threads."""
        cropped = self._loader.load(index)
        masks = self._draw_masks(index)
        rng = self._streams.generator(Purpose.NEGATIVES, index)
        wanted = self._job.loss.negatives
        negatives = [sample_negatives(rng, len(mask), int(mask[0].sum()), wanted) for mask in masks]
        return PretrainMicroBatch(
            index=index,
            waveform=self._host(torch.from_numpy(cropped.waveform)),
            sub_batch_sizes=cropped.plan.sub_batch_sizes,
            masks=self._host(torch.from_numpy(np.concatenate(masks))),
            negatives=tuple(self._host(torch.from_numpy(part)) for part in negatives),
            layer_keep=layer_keep(self._streams, self._job.model.encoder, index),
            utterances=np.concatenate(cropped.plan.utterances),
            epochs=cropped.plan.epochs,
        )

    def forward(self, module: nn.Module, batch: PretrainMicroBatch, update: int) -> tuple[Tensor, Tensor]:
        """Loss of a micro-batch and its counts.

        Args:
            module: The model, as the engine wraps it; its mode (train or eval) is the caller's.
            batch: From `micro_batch`.
            update: Update number, for the Gumbel temperature.

        Returns:
            The summed loss in nats (with its gradient), and the `SUMS` as float64 on the device, detached.
        """
        torch.manual_seed(self._streams.torch_seed(Purpose.STEP, batch.index))
        waveform = self._to_device(batch.waveform).float().mul_(INT16_SCALE)
        if self._job.model.normalize_waveform:
            waveform = torch.nn.functional.layer_norm(waveform, waveform.shape[-1:], eps=self._job.model.normalize_eps)
        output: PretrainOutput = module(
            waveform,
            batch.sub_batch_sizes,
            self._to_device(batch.masks),
            [self._to_device(part) for part in batch.negatives],
            gumbel_temperature=gumbel_temperature(self._job.model.quantizer, update),
            layer_keep=batch.layer_keep if module.training else None,
        )
        return output.loss_sum, self._counts(output, batch)

    def used(self, batch: PretrainMicroBatch) -> list[tuple[int, str]]:
        """(epoch, utterance id) of everything in a micro-batch."""
        return used_utterances(self._data, batch.utterances, batch.sub_batch_sizes, batch.epochs)

    def settings(self, update: int) -> dict[str, float]:
        """The Gumbel temperature."""
        return {"gumbel_temperature": gumbel_temperature(self._job.model.quantizer, update)}

    def figures(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Losses per masked frame, in bits; accuracy; perplexities, means over sub-batches."""
        bits = 1.0 / (totals["masked_frames"] * math.log(2.0))
        return {
            "loss": totals["loss_sum"] * bits,
            "loss_contrastive": totals["contrastive"] * bits,
            "loss_diversity": totals["diversity"] * bits,
            "loss_features_penalty": totals["features_penalty"] * bits,
            "accuracy": totals["correct"] / totals["masked_frames"],
            "prob_perplexity": totals["prob_perplexity"] / totals["sub_batches"],
            "code_perplexity": totals["code_perplexity"] / totals["sub_batches"],
        }

    def _counts(self, output: PretrainOutput, batch: PretrainMicroBatch) -> Tensor:
        sub_batches = len(batch.sub_batch_sizes)
        rows, frames = batch.masks.shape
        on_device = torch.stack(
            [
                output.loss_sum.detach().double(),
                output.contrastive.double(),
                output.diversity.double(),
                output.features_penalty.double(),
                output.correct.double(),
                output.prob_perplexities.double().sum(),
                output.code_perplexities.double().sum(),
            ]
        )
        known = [output.sample_size, rows * frames, batch.waveform.numel(), sub_batches]
        return torch.cat([on_device, filled(known, on_device.device)])

    def _masks(self, index: int) -> tuple[BoolArray, ...]:
        plan = self.plan.micro_batch(index)
        frames = self._job.model.feature_encoder.num_frames(plan.crop_samples)
        masking = self._job.model.masking
        rng = self._streams.generator(Purpose.MASK, index)
        return tuple(
            span_mask(rng, size, frames, masking.probability, masking.length_frames) for size in plan.sub_batch_sizes
        )

    def _host(self, tensor: Tensor) -> Tensor:
        return pinned(tensor, self._device)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, non_blocking=True)


def build_plan(job: PretrainJob, data: Utterances, streams: RandomStreams, *, validation: bool = False) -> BatchPlan:
    """The job's batch plan over a dataset. Validation runs its sub-batches one by one and in a fixed order."""
    return BatchPlan(
        data.num_samples,
        max_tokens=job.batch.max_tokens,
        size_multiple=job.batch.size_multiple,
        concat=1 if validation else job.batch.concat,
        min_samples=job.batch.min_samples,
        max_samples=job.batch.max_samples,
        streams=streams,
    )


def build_model(job: PretrainJob) -> nn.Module:
    """The job's model with its initial weights, the same on every worker."""
    torch.manual_seed(RandomStreams(job.seed).torch_seed(Purpose.WEIGHTS))
    return build_pretrain_model(
        job.model,
        job.loss,
        layer_drop_mode="skip" if job.engine.zero_stage < 2 else "run_and_discard",
        activation_checkpointing=job.engine.activation_checkpointing,
    )
