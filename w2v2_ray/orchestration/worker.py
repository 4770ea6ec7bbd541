"""What Ray Train runs on every worker."""

from __future__ import annotations

import json
from typing import Any

import ray.train

from w2v2_ray.engine.run_folder import RunFolder, write_text
from w2v2_ray.engine.session import start_session
from w2v2_ray.errors import W2v2RayError
from w2v2_ray.spec.job import PretrainJob, parse_job

REPORT_UPDATES = 100
"""Updates between two reports to Ray. A report is a barrier of about a second among the workers."""


class RayHooks:
    """Tells Ray Train how far the run is."""

    def __init__(self) -> None:
        self._latest: dict[str, Any] = {}

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


def train_worker(config: dict[str, Any]) -> None:
    """Train as one worker of the group.

    An error that a retry cannot mend is left in the run's folder and every later attempt returns at once; the driver
    raises it. Anything else is raised here, and Ray starts the group again from the newest checkpoint.
    """
    run = RunFolder(config["run"])
    fatal = run.path / config["fatal"]
    if fatal.exists():
        return
    context = ray.train.get_context()
    try:
        job: PretrainJob = parse_job(config["job"])
        session = start_session(
            job,
            run,
            local_rank=context.get_local_rank(),
            workers_on_node=context.get_local_world_size(),
            hooks=RayHooks(),
        )
        session.trainer.train()
        session.close()
    except W2v2RayError as error:
        write_text(fatal, json.dumps({"type": type(error).__name__, "message": error.message}))
        raise
