"""What pre-training does with a micro-batch: draw masks and negatives, forward, count.

All draws are keyed by the micro-batch's position in the stream (`data/random_streams.py`), so it does not matter
which worker runs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.model.masking import sample_negatives
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
    """

    negatives: tuple[Tensor, ...]


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
            **vars(masked), negatives=tuple(self._host(torch.from_numpy(part)) for part in negatives)
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
            gumbel_temperature=gumbel_temperature(self._job.model.quantizer, update),
            layer_keep=batch.layer_keep if module.training else None,
        )
        return output.loss_sum, self._counts(output, batch)

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


def build_model(job: PretrainJob) -> nn.Module:
    """The job's model with its initial weights, the same on every worker."""
    torch.manual_seed(RandomStreams(job.seed).torch_seed(Purpose.WEIGHTS))
    return build_pretrain_model(
        job.model,
        job.loss,
        layer_drop_mode="skip" if job.engine.zero_stage < 2 else "run_and_discard",
        activation_checkpointing=job.engine.activation_checkpointing,
    )
