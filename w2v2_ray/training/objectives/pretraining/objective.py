"""Pre-training as an objective: see `objectives.objective`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.model import SAMPLE_RATE
from w2v2_ray.training.objectives.masked_objective import MaskedObjective
from w2v2_ray.training.run_plan import RunPlan
from w2v2_ray.training.watch.watched import Watched

if TYPE_CHECKING:
    import torch
    from torch import nn

    from w2v2_ray.training.objectives.task import Training

_NOISE_EPOCHS_SUB_BATCHES = 4
"""Updates' worth of noise in an epoch, so that drawing it does not take long."""


class PretrainObjective(MaskedObjective[PretrainJob]):
    """The contrastive objective on crops of audio, from random weights or a model that exists."""

    def begin(self, job: PretrainJob, run: RunFolder) -> PretrainJob:
        """Settle the initial weights where they come from a model."""
        if job.pretrained is None:
            return job
        from w2v2_ray.training.objectives.pretraining.start import resolve

        return resolve(job, run)

    def keeps_start(self, job: PretrainJob) -> bool:
        """Only where the weights come from a model."""
        return job.pretrained is not None

    def localised(self, job: PretrainJob, run: RunFolder) -> PretrainJob:
        """The initial weights on this node."""
        if job.pretrained is None or run.store.is_here:
            return job
        return job.model_copy(update={"pretrained": str(run.initial)})

    def set_up(self, job: PretrainJob, run: RunFolder, device: torch.device) -> Training:
        """Build the model and open its data."""
        from w2v2_ray.training.objectives.pretraining.task import PretrainTask

        return self._training(job, _initial(job, run), PretrainTask, device)

    def set_up_on_noise(
        self, job: PretrainJob, longest_s: tuple[float, float] | None, device: torch.device
    ) -> Training:
        """Build the model on noise between two lengths, or all of `batch.max_samples`."""
        from w2v2_ray.data.noise import NoiseUtterances
        from w2v2_ray.data.random_streams import RandomStreams
        from w2v2_ray.training.objectives.cropped import build_plan
        from w2v2_ray.training.objectives.pretraining.task import PretrainTask, build_model
        from w2v2_ray.training.objectives.task import Training

        batch = job.batch
        low, high = longest_s or (batch.max_samples / SAMPLE_RATE, batch.max_samples / SAMPLE_RATE)
        longest = min(round(high * SAMPLE_RATE), batch.max_samples)
        in_sub_batch = max(1, batch.max_tokens // longest)
        utterances = in_sub_batch * batch.sub_batches_per_update * _NOISE_EPOCHS_SUB_BATCHES
        data = NoiseUtterances(utterances, round(low * SAMPLE_RATE), longest, job.seed)
        streams = RandomStreams(job.seed)
        task = PretrainTask(job, data, build_plan(job, data.num_samples, streams), streams, device)
        return Training(build_model(job), task, None, data.fingerprint)

    def plan(self, job: PretrainJob) -> RunPlan:
        """Read the datasets' index alone."""
        from w2v2_ray.spec.parameter_count import count_parameters
        from w2v2_ray.training.objectives.masked_plan import plan_masked

        return plan_masked(job, count_parameters(job.model))

    def watched(self, job: PretrainJob) -> Watched:
        """The codebooks, and the loss by chance."""
        quantizer = job.model.quantizer
        return Watched(quantizer.codebooks, quantizer.entries, job.loss.total_negatives)


def _initial(job: PretrainJob, run: RunFolder) -> nn.Module:
    """The model with random weights, or with those that the run's folder holds."""
    from w2v2_ray.model.interop.model_folder import load_model
    from w2v2_ray.training.objectives.pretraining.task import build_model

    model = build_model(job)
    if job.pretrained is not None:
        model.load_state_dict(load_model(run.initial).state)
    return model
