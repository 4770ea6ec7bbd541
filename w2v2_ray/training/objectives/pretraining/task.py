"""What pre-training does with a micro-batch: draw masks and negatives, forward, count.

All draws are keyed by the micro-batch's position in the stream (`data/random_streams.py`), so it does not matter
which worker runs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.model.masking import BoolArray, IntArray, sample_codes, sample_cross_negatives, sample_negatives
from w2v2_ray.model.pretraining import PretrainOutput
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.training.objectives.cropped_task import CroppedTask, MaskedMicroBatch
from w2v2_ray.training.objectives.drawing import filled
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
class PretrainMicroBatch(MaskedMicroBatch):
    """A micro-batch ready for the device.

    Attributes:
        negatives: Per sub-batch, places among the utterance's masked frames. Shapes: [b, M, N].
        cross_negatives: Per sub-batch, places among all its masked frames; None: there are none. Shapes: [b, M, N'].
        codebook_negatives: Per sub-batch, entries of the codebooks; None: there are none. Shapes: [b, M, K, G].
    """

    negatives: tuple[Tensor, ...]
    cross_negatives: tuple[Tensor, ...] | None = None
    codebook_negatives: tuple[Tensor, ...] | None = None


class PretrainTask(CroppedTask):
    """Pre-training on one dataset, as the trainer sees it; see `CroppedTask`."""

    sums: tuple[str, ...] = SUMS

    def __init__(
        self, job: PretrainJob, data: Utterances, plan: BatchPlan, streams: RandomStreams, device: torch.device
    ) -> None:
        super().__init__(job, data, plan, streams, device)
        self._job = job

    def micro_batch(self, index: int) -> PretrainMicroBatch:
        """Read and draw everything micro-batch `index` needs. Runs on loader threads."""
        cropped, masks = self._load(index)
        rng = self._streams.generator(Purpose.NEGATIVES, index)
        wanted = self._job.loss.negatives
        negatives = [sample_negatives(rng, len(mask), int(mask[0].sum()), wanted) for mask in masks]
        masked = self._masked(index, cropped, masks)
        return PretrainMicroBatch(
            **vars(masked),
            negatives=self._on_host(negatives),
            cross_negatives=self._cross_negatives(index, masks),
            codebook_negatives=self._codebook_negatives(index, masks),
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
        output: PretrainOutput = module(
            self._waveform(batch),
            batch.sub_batch_sizes,
            self._to_device(batch.masks),
            [self._to_device(part) for part in batch.negatives],
            cross_negatives=self._all_to_device(batch.cross_negatives),
            codebook_negatives=self._all_to_device(batch.codebook_negatives),
            gumbel_temperature=self._temperature(update),
            layer_keep=batch.layer_keep if module.training else None,
        )
        return output.loss_sum, self._counts(output, batch)

    def settings(self, update: int) -> dict[str, float]:
        """The Gumbel temperature."""
        return {"gumbel_temperature": self._temperature(update)}

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

    def _temperature(self, update: int) -> float:
        return gumbel_temperature(self._job.model.quantizer, update, like_reference=self._job.like_reference)

    def _cross_negatives(self, index: int, masks: Sequence[BoolArray]) -> tuple[Tensor, ...] | None:
        wanted = self._job.loss.cross_sample_negatives
        if not wanted:
            return None
        rng = self._streams.generator(Purpose.CROSS_NEGATIVES, index)
        return self._on_host([sample_cross_negatives(rng, len(mask), int(mask[0].sum()), wanted) for mask in masks])

    def _codebook_negatives(self, index: int, masks: Sequence[BoolArray]) -> tuple[Tensor, ...] | None:
        wanted, quantizer = self._job.loss.codebook_negatives, self._job.model.quantizer
        if not wanted:
            return None
        rng = self._streams.generator(Purpose.CODEBOOK_NEGATIVES, index)
        return self._on_host(
            [
                sample_codes(rng, len(mask), int(mask[0].sum()), wanted, quantizer.codebooks, quantizer.entries)
                for mask in masks
            ]
        )

    def _on_host(self, arrays: Sequence[IntArray]) -> tuple[Tensor, ...]:
        return tuple(self._host(torch.from_numpy(array)) for array in arrays)

    def _all_to_device(self, tensors: Sequence[Tensor] | None) -> list[Tensor] | None:
        return None if tensors is None else [self._to_device(tensor) for tensor in tensors]

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


def build_model(job: PretrainJob) -> nn.Module:
    """The job's model with its initial weights, the same on every worker."""
    torch.manual_seed(RandomStreams(job.seed).torch_seed(Purpose.WEIGHTS))
    return build_pretrain_model(
        job.model,
        job.loss,
        layer_drop_mode="skip" if job.engine.zero_stage < 2 else "run_and_discard",
        activation_checkpointing=job.engine.activation_checkpointing,
        concat_diversity="last" if job.like_reference else "each",
    )
