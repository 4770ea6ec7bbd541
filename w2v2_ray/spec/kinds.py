"""The kinds of job, and a plain mapping as one of them."""

from __future__ import annotations

from typing import Any

from w2v2_ray.spec.best_rq import BestRqJob
from w2v2_ray.spec.finetune import FinetuneJob
from w2v2_ray.spec.job import Job, PretrainJob
from w2v2_ray.spec.space import SpaceSpec
from w2v2_ray.spec.sweep import SweepSpec

JOB_KINDS: dict[str, type[Job]] = {
    "pretrain": PretrainJob,
    "finetune": FinetuneJob,
    "best_rq": BestRqJob,
    "sweep": SweepSpec,
    "space": SpaceSpec,
}
"""The models that `kind` chooses between."""


def parse_job(document: dict[str, Any]) -> Job:
    """Validate a plain mapping, presets already applied; `loading.load_job` reads files and explains errors.

    Raises:
        pydantic.ValidationError: When any field is wrong.
        KeyError: When `kind` is missing or unknown.
    """
    return JOB_KINDS[document["kind"]].model_validate(document)
