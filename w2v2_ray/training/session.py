"""Put a worker together: device, process group, data, model, engine, trainer. Usable with and without Ray."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from w2v2_ray.engine.device import pick_device
from w2v2_ray.engine.distributed import init_process_group
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.team.member import Member
from w2v2_ray.training.crews.crew import Crew
from w2v2_ray.training.crews.fixed import FixedCrew
from w2v2_ray.training.crews.living import LivingCrew
from w2v2_ray.training.hooks import TrainerHooks
from w2v2_ray.training.objectives.registry import objective_of
from w2v2_ray.training.trainer import Trainer
from w2v2_ray.training.validation import Validator


@dataclass
class Session:
    """A worker ready to train."""

    trainer: Trainer
    engine: TrainingEngine
    validator: Validator | None
    living: LivingCrew | None = None

    def close(self) -> None:
        """Release the engine, and leave the team."""
        if self.living is not None:
            self.living.close()
        self.engine.destroy()


def set_threads(job: TrainJob) -> None:
    """Give this worker the threads that the spec says.

    Kernels add in another order with other thread counts, so the number must not depend on how many workers share a
    node: what the spec reserves for a worker is the same wherever it runs.
    """
    threads = job.engine.threads or max(1, int(job.worker.cpus))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def start_session(
    job: TrainJob,
    run: RunFolder,
    *,
    local_rank: int = 0,
    hooks: TrainerHooks | None = None,
    join: Callable[[], Member] | None = None,
) -> Session:
    """Build everything one worker needs. Collective when a process group exists or is announced by the environment.

    Args:
        job: The spec.
        run: Where it is written.
        local_rank: Of this worker on its node.
        hooks: Who wants to know.
        join: Calls the coordinator of a team that may change, once this worker is ready to train; None: the process
            group is the crew.

    Raises:
        UserError: When the device, the data or the checkpoint cannot be used.
    """
    set_threads(job)
    # Ray does not hide a node's GPUs from workers that asked for none.
    on_cpu = job.worker.gpus == 0 and job.engine.device == "auto"
    device = pick_device(job.engine.model_copy(update={"device": "cpu"}) if on_cpu else job.engine, local_rank)
    init_process_group(device)
    objective = objective_of(job)
    training = objective.set_up(job, run, device)
    engine = TrainingEngine(training.model, optim=job.applied_optim, engine=job.engine, device=device)
    living = LivingCrew(job, engine, training.task, join()) if join is not None else None
    crew: Crew = living or FixedCrew(job, engine, training.task)
    validator = Validator(job, engine, training.validation, crew) if training.validation is not None else None
    trainer = Trainer(
        job,
        engine,
        training.task,
        validator,
        run,
        crew,
        fingerprint=training.fingerprint,
        hooks=hooks,
        early_stopping=objective.early_stopping(job),
        watched=objective.watched(job),
    )
    if living is not None:
        living.describe, living.unpack_trainer = trainer.describe, trainer.take_over
    return Session(trainer, engine, validator, living)
