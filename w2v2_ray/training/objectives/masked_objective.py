"""What objectives that predict what is masked in crops of audio share: checking their data, and making their tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from w2v2_ray.spec.job import MaskedJob
from w2v2_ray.training.objectives.objective import Objective

if TYPE_CHECKING:
    import torch
    from torch import nn

    from w2v2_ray.data.batch_plan import BatchPlan
    from w2v2_ray.data.dataset import Utterances
    from w2v2_ray.data.random_streams import RandomStreams
    from w2v2_ray.training.objectives.task import Task, Training

    MakeTask = Callable[["K", Utterances, BatchPlan, RandomStreams, torch.device], Task[Any]]

K = TypeVar("K", bound=MaskedJob)


class MaskedObjective(Objective[K]):
    """Crops of audio with masked spans; subclasses say which model and which task."""

    def check(self, job: K) -> dict[str, Any]:
        """See that there are utterances that are long enough; none is left out for another reason."""
        from w2v2_ray.data.random_streams import RandomStreams
        from w2v2_ray.training.objectives.cropped import build_plan
        from w2v2_ray.training.objectives.data import open_data

        for refs in (job.data.train, job.data.validation):
            if refs:
                build_plan(job, open_data(job, refs).num_samples, RandomStreams(job.seed))
        return {}

    def _training(self, job: K, model: nn.Module, make_task: MakeTask[K], device: torch.device) -> Training:
        """Open the data, training and held out, for a model."""
        from w2v2_ray.data.random_streams import RandomStreams
        from w2v2_ray.training.objectives.cropped import build_plan
        from w2v2_ray.training.objectives.data import open_data
        from w2v2_ray.training.objectives.task import Training

        train = open_data(job, job.data.train)
        streams = RandomStreams(job.seed)
        task = make_task(job, train, build_plan(job, train.num_samples, streams), streams, device)
        validation = None
        if job.data.validation:
            held_out = open_data(job, job.data.validation)
            fixed = RandomStreams(job.seed, "validation")
            plan = build_plan(job, held_out.num_samples, fixed, validation=True)
            validation = make_task(job, held_out, plan, fixed, device)
        return Training(model, task, validation, train.fingerprint)
