"""The objective of each kind of job. A new one: a folder beside this file, its spec, and a line here."""

from __future__ import annotations

from typing import Any

from w2v2_ray.spec.job import TrainJob
from w2v2_ray.training.objectives.best_rq.objective import BestRqObjective
from w2v2_ray.training.objectives.finetuning.objective import FinetuneObjective
from w2v2_ray.training.objectives.objective import Objective
from w2v2_ray.training.objectives.pretraining.objective import PretrainObjective

OBJECTIVES: dict[str, Objective[Any]] = {
    "pretrain": PretrainObjective(),
    "finetune": FinetuneObjective(),
    "best_rq": BestRqObjective(),
}


def objective_of(job: TrainJob) -> Objective[Any]:
    """What a job trains."""
    return OBJECTIVES[job.kind]
