"""BEST-RQ as an objective: see `objectives.objective`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.best_rq import BestRqJob
from w2v2_ray.training.objectives.masked_objective import MaskedObjective
from w2v2_ray.training.run_plan import RunPlan

if TYPE_CHECKING:
    import torch

    from w2v2_ray.training.objectives.task import Training


class BestRqObjective(MaskedObjective[BestRqJob]):
    """Labels of a random projection quantizer, predicted from crops of audio, from random weights."""

    def set_up(self, job: BestRqJob, run: RunFolder, device: torch.device) -> Training:
        """Build the model and open its data."""
        from w2v2_ray.training.objectives.best_rq.task import BestRqTask, build_model

        return self._training(job, build_model(job), BestRqTask, device)

    def plan(self, job: BestRqJob) -> RunPlan:
        """Read the datasets' index alone."""
        from w2v2_ray.spec.parameter_count import count_parameters
        from w2v2_ray.training.objectives.masked_plan import plan_masked

        parts = count_parameters(job.model)
        backbone = {name: parts[name] for name in ("feature_encoder", "input_projection", "encoder")}
        return plan_masked(job, {**backbone, "prediction": (job.model.encoder.dim + 1) * job.targets.entries})
