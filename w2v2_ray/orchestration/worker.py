"""What Ray Train runs on every worker."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from functools import partial
from typing import Any

import ray.train
import torch.distributed as dist

from w2v2_ray.errors import StorageUnavailableError, W2v2RayError
from w2v2_ray.orchestration.failures import NodeLeaving
from w2v2_ray.orchestration.scaling import request_of
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.run.opening import open_run
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.kinds import parse_job
from w2v2_ray.team.member import Member, patient_member
from w2v2_ray.team.wire import TeamOver
from w2v2_ray.training.hooks import NoHooks
from w2v2_ray.training.objectives.registry import objective_of
from w2v2_ray.training.session import start_session

REPORT_UPDATES = 100
"""Updates between two reports to Ray. A report is a barrier of about a second among the workers."""


class RayHooks(NoHooks):
    """Tells Ray Train how far the run is, and the trainer what Ray is about to do.

    Args:
        run: The run.
        world_rank: This worker.
    """

    def __init__(self, run: RunFolder, world_rank: int) -> None:
        self._run = run
        self._first = world_rank == 0
        self._latest: dict[str, Any] = {}
        self._answered: str | None = None

    def on_update(self, update: int, record: dict[str, Any] | None) -> None:
        """Report now and then. Every worker does so at the same update."""
        if record is not None:
            self._latest = record
        if update % REPORT_UPDATES == 0:
            ray.train.report(self._latest)

    def on_checkpoint(self, update: int) -> None:
        """Report the newest figures with the checkpoint's update."""
        if update % REPORT_UPDATES:
            ray.train.report({**self._latest, "checkpoint_update": update})

    def wants_state(self) -> bool:
        """The controller is about to resize the group. Once for each request, on worker 0 alone."""
        request = request_of(self._run) if self._first else None
        if request is None or request == self._answered:
            return False
        self._answered = request
        return True

    def must_leave(self) -> bool:
        """A node of the group is being drained.

        The public `ray.train.get_preemption_info` is a barrier; the trainer's own sum tells the others for nothing.
        """
        from w2v2_ray.orchestration.ray_private.train import is_preempted

        return is_preempted()

    def leave(self, update: int) -> None:
        """End this attempt.

        Raises:
            NodeLeaving: Always.
        """
        raise NodeLeaving(f"the state of update {update} is saved; a drained node is given back")


def allow_collectives(timeout_s: float) -> None:
    """Give collective operations more time than the workers had to find each other."""
    if dist.is_initialized():
        # No public function changes it; torchrun's own elasticity uses this one.
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=timeout_s), None)


def train_worker(config: dict[str, Any]) -> None:
    """Train as one worker of the group.

    An error that a retry cannot mend is left in the run's folder and every later attempt returns at once; the driver
    raises it. Anything else is raised here, and Ray starts the group again from the newest checkpoint.
    """
    run = open_run(config["run"], "worker")
    if run.notes.read(config["fatal"]) is not None:
        return
    try:
        _train(config, run)
    except TeamOver:
        return
    except StorageUnavailableError:
        raise  # an outage passes: Ray starts the group again
    except W2v2RayError as error:
        run.notes.write(config["fatal"], json.dumps({"type": type(error).__name__, "message": error.message}))
        raise


def _train(config: dict[str, Any], run: RunFolder) -> None:
    context = ray.train.get_context()
    job = parse_job(config["job"])
    assert isinstance(job, TrainJob)
    allow_collectives(job.failure.collective_timeout_s)
    objective = objective_of(job)
    if objective.keeps_start(job):
        run.store.pull_start()
    hooks = RayHooks(run, context.get_world_rank())
    team = config.get("team")
    try:
        session = start_session(
            objective.localised(job, run),
            run,
            local_rank=context.get_local_rank(),
            hooks=hooks,
            join=None if team is None else partial(_join, team),
        )
        session.trainer.train()
        session.close()
    except NodeLeaving:
        if team is None:
            raise  # so that Ray starts the others again


def _join(team: dict[str, Any]) -> Member:
    """Call the coordinator of a living crew."""
    about = {"node": ray.get_runtime_context().get_node_id(), "pid": os.getpid()}
    return patient_member(
        tuple(team["address"]), team["secret"], team["name"], about, team["silence_s"], patience_s=team["silence_s"]
    )
