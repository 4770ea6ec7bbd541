"""A run in MLflow: its spec as parameters, its metrics by update, how it ended."""

from __future__ import annotations

import math
from typing import Any

from w2v2_ray.errors import MissingExtraError, UserError
from w2v2_ray.orchestration.sinks.parameters import flat_parameters, numbers
from w2v2_ray.run import names
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.logging import MlflowSpec

_BATCH = 500


class MlflowSink:
    """One MLflow run for one run of ours, gone on with when ours is resumed.

    Args:
        job: Whose run it is.
        run: Keeps the id of the MLflow run.
        spec: Where to.

    Raises:
        MissingExtraError: MLflow is not installed.
        UserError: The server refuses or does not answer.
    """

    def __init__(self, job: TrainJob, run: RunFolder, spec: MlflowSpec) -> None:
        try:
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise MissingExtraError(
                "logging.mlflow: MLflow is not installed; install it with: pip install 'w2v2-ray[mlflow]'"
            ) from error
        self._metric = Metric
        try:
            self._client = MlflowClient(tracking_uri=spec.tracking_uri)
            known = run.notes.read(names.MLFLOW_RUN)
            if known:
                self._id = known.strip()
                self._client.update_run(self._id, status="RUNNING")
            else:
                experiment = self._client.get_experiment_by_name(spec.experiment)
                number = experiment.experiment_id if experiment else self._client.create_experiment(spec.experiment)
                self._id = self._client.create_run(number, run_name=job.name).info.run_id
                run.notes.write(names.MLFLOW_RUN, self._id)
                parameters = [Param(name, value[:500]) for name, value in flat_parameters(job).items()]
                for start in range(0, len(parameters), 100):
                    self._client.log_batch(self._id, params=parameters[start : start + 100])
        except MlflowException as error:
            raise UserError(f"logging.mlflow: {error}; correct tracking_uri, or set logging.mlflow: null") from error
        self._waiting: list[Any] = []
        self._status = "KILLED"

    def metrics(self, record: dict[str, Any]) -> None:
        """Log an update; several go out together."""
        self._log("train", record)

    def event(self, record: dict[str, Any]) -> None:
        """Log a validation, and keep in mind how the run ends."""
        if record["event"] == "validation":
            self._log("validation", record)
        elif record["event"] in ("end", "failed"):
            self._status = "FINISHED" if record["event"] == "end" else "FAILED"
        elif record["event"] == "launch":
            self._status = "KILLED"
        self._flush()

    def _log(self, group: str, record: dict[str, Any]) -> None:
        at, step = int(1000 * record["time"]), int(record["update"])
        for name, value in numbers(record).items():
            if math.isfinite(value):
                self._waiting.append(self._metric(f"{group}/{name}", value, at, step))
        if len(self._waiting) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            part, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            self._client.log_batch(self._id, metrics=part)

    def close(self) -> None:
        """Log the rest and how it ended."""
        self._flush()
        self._client.set_terminated(self._id, status=self._status)
