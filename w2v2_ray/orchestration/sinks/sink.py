"""What the driver tells about a run to the outside, while it goes on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from w2v2_ray.orchestration.progress import EventsFollower, MetricsFollower
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob

_LOG = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes a run's figures. What it raises is logged once and ends it; a run never ends of its sinks."""

    def metrics(self, record: dict[str, Any]) -> None:
        """A new line of metrics; after a rewind, updates come again."""

    def event(self, record: dict[str, Any]) -> None:
        """A new event."""

    def close(self) -> None:
        """The run has ended, or the driver goes."""


def make_sinks(job: TrainJob, run: RunFolder) -> list[Sink]:
    """The sinks that a job asks for. Before anything starts.

    Raises:
        MissingExtraError: A library is not installed.
        UserError: A service refuses.
    """
    sinks: list[Sink] = []
    logging_spec = job.logging
    if logging_spec.mlflow is not None:
        from w2v2_ray.orchestration.sinks.mlflow_sink import MlflowSink

        sinks.append(MlflowSink(job, run, logging_spec.mlflow))
    if logging_spec.wandb is not None:
        from w2v2_ray.orchestration.sinks.wandb_sink import WandbSink

        sinks.append(WandbSink(job, run, logging_spec.wandb))
    return sinks


@contextmanager
def feed(run: RunFolder, sinks: Sequence[Sink]) -> Iterator[None]:
    """Tell sinks what a run writes, from background threads, while the block runs.

    The driver follows the run's files: training waits for no service, and only the driver needs its credentials.
    """
    guarded = [_Guarded(sink) for sink in sinks]

    def metrics(record: dict[str, Any]) -> None:
        for sink in guarded:
            sink.tell("metrics", record)

    def event(record: dict[str, Any]) -> None:
        for sink in guarded:
            sink.tell("event", record)

    with ExitStack() as stack:
        for sink in guarded:
            stack.callback(sink.tell, "close")
        if guarded:
            stack.enter_context(MetricsFollower(run.metrics, metrics, interval_s=1.0))
            stack.enter_context(EventsFollower(run, event))
        yield


class _Guarded:
    """A sink whose failure is nobody else's."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._broken = False

    def tell(self, method: str, *arguments: Any) -> None:
        if self._broken and method != "close":
            return
        try:
            getattr(self._sink, method)(*arguments)
        except Exception as error:
            self._broken = True
            with contextlib.suppress(Exception):
                _LOG.warning("%s: given up, training goes on: %s", type(self._sink).__name__, error)
