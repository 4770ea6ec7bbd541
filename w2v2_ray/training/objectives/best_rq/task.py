"""What BEST-RQ does with a micro-batch: draw masks, label frames, forward, count."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.model.factory import build_backbone
from w2v2_ray.spec.best_rq import BestRqJob
from w2v2_ray.training.objectives.best_rq.network import BestRqModel, BestRqOutput
from w2v2_ray.training.objectives.best_rq.quantizer import RandomProjectionQuantizer
from w2v2_ray.training.objectives.cropped_task import CroppedTask, MaskedMicroBatch
from w2v2_ray.training.objectives.drawing import filled


class BestRqTask(CroppedTask):
    """BEST-RQ on one dataset, as the trainer sees it; see `CroppedTask`."""

    sums: tuple[str, ...] = ("loss_sum", "correct", "label_perplexity", "masked_frames", "frames", "samples", "batches")

    def __init__(
        self, job: BestRqJob, data: Utterances, plan: BatchPlan, streams: RandomStreams, device: torch.device
    ) -> None:
        super().__init__(job, data, plan, streams, device)
        self._entries = job.targets.entries
        self._quantizer = RandomProjectionQuantizer(job.targets, job.model.feature_encoder, job.seed, device)

    def micro_batch(self, index: int) -> MaskedMicroBatch:
        """Read and draw everything micro-batch `index` needs. Runs on loader threads."""
        return self._masked(index, *self._load(index))

    def forward(self, module: nn.Module, batch: MaskedMicroBatch, update: int) -> tuple[Tensor, Tensor]:
        """Loss of a micro-batch in nats, and the `sums` as float64 on the device."""
        torch.manual_seed(self._streams.torch_seed(Purpose.STEP, batch.index))
        waveform = self._waveform(batch)
        output: BestRqOutput = module(
            waveform,
            self._to_device(batch.masks),
            list(zip(batch.sub_batch_sizes, batch.masked_frames, strict=True)),
            self._quantizer.labels(waveform),
            layer_keep=batch.layer_keep if module.training else None,
        )
        rows, frames = batch.masks.shape
        on_device = torch.stack(
            [output.loss_sum.detach().double(), output.correct.double(), self._perplexity(output.labels)]
        )
        known = [output.labels.numel(), rows * frames, batch.waveform.numel(), 1]
        return output.loss_sum, torch.cat([on_device, filled(known, on_device.device)])

    def settings(self, update: int) -> dict[str, float]:
        """Nothing changes from update to update."""
        return {}

    def figures(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Loss per masked frame in bits, accuracy, and how many labels the audio uses."""
        masked = totals["masked_frames"]
        return {
            "loss": totals["loss_sum"] / (masked * math.log(2.0)),
            "accuracy": totals["correct"] / masked,
            "label_perplexity": totals["label_perplexity"] / totals["batches"],
        }

    def _perplexity(self, labels: Tensor) -> Tensor:
        """exp(entropy) of the labels of a micro-batch. Shape: [n] -> []."""
        counts = torch.zeros(self._entries, dtype=torch.float64, device=labels.device)
        counts.index_add_(0, labels, torch.ones_like(labels, dtype=torch.float64))
        shares = counts / labels.numel()
        return torch.exp(-torch.xlogy(shares, shares).sum())


def build_model(job: BestRqJob) -> nn.Module:
    """The job's model with its initial weights, the same on every worker."""
    torch.manual_seed(RandomStreams(job.seed).torch_seed(Purpose.WEIGHTS))
    backbone = build_backbone(
        job.model,
        layer_drop_mode="skip" if job.engine.zero_stage < 2 else "run_and_discard",
        activation_checkpointing=job.engine.activation_checkpointing,
    )
    return BestRqModel(backbone, job.targets.entries)
