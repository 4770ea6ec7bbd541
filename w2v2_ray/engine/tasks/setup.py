"""From a job to what is trained: the model with its initial weights, the training task, the held-out one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.mixture import DatasetMixture, open_mixture
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.engine.run_folder import RunFolder
from w2v2_ray.engine.tasks.pretraining import PretrainTask, build_model, build_plan
from w2v2_ray.engine.tasks.task import Task
from w2v2_ray.spec.data import DatasetRef
from w2v2_ray.spec.job import PretrainJob, TrainJob


@dataclass(frozen=True)
class Training:
    """What a worker trains.

    Attributes:
        model: With its initial weights, the same on every worker.
        task: Training micro-batches.
        validation: Held-out ones, or None.
        fingerprint: Identity of the training data.
    """

    model: nn.Module
    task: Task[Any]
    validation: Task[Any] | None
    fingerprint: str


def set_up(job: TrainJob, run: RunFolder, device: torch.device) -> Training:
    """Build a job's model and open its data.

    Raises:
        UserError: When the data or the checkpoint cannot be used.
    """
    if isinstance(job, PretrainJob):
        return _pretraining(job, device)
    raise TypeError(f"no training for {type(job).__name__}")


def open_data(job: TrainJob, refs: tuple[DatasetRef, ...]) -> DatasetMixture:
    """Open a job's datasets; what the driver has checked is not checked again."""
    return open_mixture(
        [(ref.path, ref.repeat) for ref in refs],
        verify="none",
        cache_dir=job.data.cache_dir,
        cache_bytes=job.data.cache_bytes,
    )


def check_usable(job: TrainJob, data: Utterances) -> None:
    """See that a job can train on a dataset, on the driver and before anything starts.

    Raises:
        DatasetError: When it cannot.
    """
    if isinstance(job, PretrainJob):
        build_plan(job, data, RandomStreams(job.seed))


def _pretraining(job: PretrainJob, device: torch.device) -> Training:
    train = open_data(job, job.data.train)
    streams = RandomStreams(job.seed)
    task = PretrainTask(job, train, build_plan(job, train, streams), streams, device)
    validation = None
    if job.data.validation:
        held_out = open_data(job, job.data.validation)
        fixed = RandomStreams(job.seed, "validation")
        validation = PretrainTask(job, held_out, build_plan(job, held_out, fixed, validation=True), fixed, device)
    return Training(build_model(job), task, validation, train.fingerprint)
