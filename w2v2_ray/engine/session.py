"""Put a worker together: device, process group, data, model, engine, trainer. Usable with and without Ray."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from w2v2_ray.data.mixture import DatasetMixture, open_mixture
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.engine.device import pick_device
from w2v2_ray.engine.distributed import init_process_group
from w2v2_ray.engine.run_folder import RunFolder
from w2v2_ray.engine.tasks.pretraining import PretrainTask, build_model, build_plan
from w2v2_ray.engine.trainer import Trainer, TrainerHooks
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.spec.data import DatasetRef
from w2v2_ray.spec.job import PretrainJob


@dataclass
class Session:
    """A worker ready to train."""

    trainer: Trainer
    engine: TrainingEngine

    def close(self) -> None:
        """Release the engine."""
        self.engine.destroy()


def open_data(job: PretrainJob, refs: tuple[DatasetRef, ...]) -> DatasetMixture:
    """Open a job's datasets; what the driver has checked is not checked again."""
    return open_mixture(
        [(ref.path, ref.repeat) for ref in refs],
        verify="none",
        cache_dir=job.data.cache_dir,
        cache_bytes=job.data.cache_bytes,
    )


def set_threads(job: PretrainJob, workers_on_node: int) -> None:
    """Divide the node's cores among its workers; more threads than cores makes every one of them slower."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = job.engine.threads or max(1, cores // max(workers_on_node, 1))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def start_session(
    job: PretrainJob,
    run: RunFolder,
    *,
    local_rank: int = 0,
    workers_on_node: int = 1,
    hooks: TrainerHooks | None = None,
) -> Session:
    """Build everything one worker needs. Collective when a process group exists or is announced by the environment.

    Raises:
        UserError: When the device, the data or the checkpoint cannot be used.
    """
    set_threads(job, workers_on_node)
    device = pick_device(job.engine, local_rank)
    init_process_group(device)
    train_data = open_data(job, job.data.train)
    streams = RandomStreams(job.seed)
    task = PretrainTask(job, train_data, build_plan(job, train_data, streams), streams, device)
    validation = None
    if job.data.validation:
        held_out = open_data(job, job.data.validation)
        fixed = RandomStreams(job.seed, "validation")
        plan = build_plan(job, held_out, fixed, validation=True)
        validation = PretrainTask(job, held_out, plan, fixed, device)
    engine = TrainingEngine(build_model(job), optim=job.optim, engine=job.engine, device=device)
    trainer = Trainer(job, engine, task, validation, run, fingerprint=train_data.fingerprint, hooks=hooks)
    return Session(trainer, engine)
