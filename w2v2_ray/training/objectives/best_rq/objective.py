"""BEST-RQ as an objective: see `objectives.objective`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.best_rq import BestRqJob
from w2v2_ray.training.objectives.objective import Objective
from w2v2_ray.training.run_plan import RunPlan

if TYPE_CHECKING:
    import torch

    from w2v2_ray.training.objectives.task import Training


class BestRqObjective(Objective[BestRqJob]):
    """Labels of a random projection quantizer, predicted from crops of audio, from random weights."""

    def check(self, job: BestRqJob) -> dict[str, Any]:
        """See that there are utterances that are long enough; none is left out for another reason."""
        from w2v2_ray.data.random_streams import RandomStreams
        from w2v2_ray.training.objectives.cropped import build_plan
        from w2v2_ray.training.objectives.data import open_data

        for refs in (job.data.train, job.data.validation):
            if refs:
                build_plan(job, open_data(job, refs).num_samples, RandomStreams(job.seed))
        return {}

    def set_up(self, job: BestRqJob, run: RunFolder, device: torch.device) -> Training:
        """Build the model and open its data."""
        from w2v2_ray.data.random_streams import RandomStreams
        from w2v2_ray.training.objectives.best_rq.task import BestRqTask, build_model
        from w2v2_ray.training.objectives.cropped import build_plan
        from w2v2_ray.training.objectives.data import open_data
        from w2v2_ray.training.objectives.task import Training

        train = open_data(job, job.data.train)
        streams = RandomStreams(job.seed)
        task = BestRqTask(job, train, build_plan(job, train.num_samples, streams), streams, device)
        validation = None
        if job.data.validation:
            held_out = open_data(job, job.data.validation)
            fixed = RandomStreams(job.seed, "validation")
            plan = build_plan(job, held_out.num_samples, fixed, validation=True)
            validation = BestRqTask(job, held_out, plan, fixed, device)
        return Training(build_model(job), task, validation, train.fingerprint)

    def plan(self, job: BestRqJob) -> RunPlan:
        """Read the datasets' index alone."""
        from w2v2_ray.spec.parameter_count import count_parameters
        from w2v2_ray.training.objectives.masked_plan import plan_masked

        parts = count_parameters(job.model)
        backbone = {name: parts[name] for name in ("feature_encoder", "input_projection", "encoder")}
        return plan_masked(job, {**backbone, "prediction": (job.model.encoder.dim + 1) * job.targets.entries})
