"""From a job to what is trained: the model with its initial weights, the training task, the held-out one."""

from __future__ import annotations

import torch

from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.finetune import FinetuneJob
from w2v2_ray.spec.job import PretrainJob, TrainJob
from w2v2_ray.training.tasks.data import open_data
from w2v2_ray.training.tasks.finetuning import Census
from w2v2_ray.training.tasks.finetuning_setup import census, finetuning
from w2v2_ray.training.tasks.pretraining import PretrainTask, build_model, build_plan
from w2v2_ray.training.tasks.task import Training


def set_up(job: TrainJob, run: RunFolder, device: torch.device) -> Training:
    """Build a job's model and open its data.

    Raises:
        UserError: When the data or the checkpoint cannot be used.
    """
    if isinstance(job, PretrainJob):
        return _pretraining(job, device)
    if isinstance(job, FinetuneJob):
        return finetuning(job, run, device)
    raise TypeError(f"no training for {type(job).__name__}")


def check_usable(job: TrainJob) -> dict[str, Census]:
    """See that a job can train on its datasets, on the driver and before anything starts.

    Returns:
        Of a fine-tuning job, what becomes of the utterances of `train` and `validation`.

    Raises:
        DatasetError: When it cannot.
    """
    censuses = {}
    for name, refs in (("train", job.data.train), ("validation", job.data.validation)):
        if not refs:
            continue
        data = open_data(job, refs)
        if isinstance(job, PretrainJob):
            build_plan(job, data, RandomStreams(job.seed))
        elif isinstance(job, FinetuneJob):
            censuses[name] = census(job, data, validation=name == "validation")
    return censuses


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
