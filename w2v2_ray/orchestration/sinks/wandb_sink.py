"""A run in Weights & Biases: its spec as configuration, its metrics by update."""

from __future__ import annotations

import hashlib
from typing import Any

from w2v2_ray.errors import MissingExtraError, UserError
from w2v2_ray.orchestration.sinks.parameters import numbers
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.logging import WandbSpec


class WandbSink:
    """One W&B run for one run of ours, gone on with when ours is resumed.

    Args:
        job: Whose run it is.
        run: Its folder holds W&B's files.
        spec: Where to.

    Raises:
        MissingExtraError: W&B is not installed.
        UserError: The service refuses or does not answer.
    """

    def __init__(self, job: TrainJob, run: RunFolder, spec: WandbSpec) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingExtraError(
                "logging.wandb: Weights & Biases is not installed; install it with: pip install 'w2v2-ray[wandb]'"
            ) from error
        try:
            self._run = wandb.init(
                project=spec.project,
                entity=spec.entity,
                name=job.name,
                id=hashlib.sha256(run.place.encode()).hexdigest()[:16],
                resume="allow",
                mode=spec.mode,
                dir=str(run.path),
                config=job.model_dump(mode="json"),
            )
        except wandb.errors.Error as error:
            raise UserError(
                f"logging.wandb: {error}; set WANDB_API_KEY, or logging.wandb.mode: offline, or logging.wandb: null"
            ) from error
        # Our own step: after a rewind updates come again, and W&B's step may only grow.
        self._run.define_metric("update")
        self._run.define_metric("*", step_metric="update")
        self._failed = False

    def metrics(self, record: dict[str, Any]) -> None:
        """Log an update."""
        self._log("train", record)

    def event(self, record: dict[str, Any]) -> None:
        """Log a validation, and keep in mind whether the run failed."""
        if record["event"] == "validation":
            self._log("validation", record)
        elif record["event"] in ("launch", "end", "failed"):
            self._failed = record["event"] == "failed"

    def _log(self, group: str, record: dict[str, Any]) -> None:
        self._run.log({"update": record["update"], **{f"{group}/{k}": v for k, v in numbers(record).items()}})

    def close(self) -> None:
        """Send the rest."""
        self._run.finish(exit_code=int(self._failed))
