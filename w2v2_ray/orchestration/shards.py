"""Shards written in this process, or by Ray tasks of one processor each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from w2v2_ray.data.ingestion.ingest import write_shard
from w2v2_ray.data.ingestion.ingest_plan import ShardResult, ShardTask
from w2v2_ray.errors import RunFailedError, UserError
from w2v2_ray.orchestration.cluster import ray_cluster
from w2v2_ray.orchestration.waiting import tell_of_waiting

_TASKS_AHEAD = 2  # per job: enough that no worker waits for the driver


class IngestProgress(Protocol):
    """Is told how the ingest goes on."""

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` files are decoded, rejected, or were so already."""
        ...


class Counter:
    """Adds up what is done."""

    def __init__(self, progress: IngestProgress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self, more: int) -> None:
        """Count more of them."""
        self._done += more
        if self._progress is not None:
            self._progress(self._done, self._total)


def write_shards(
    tasks: Sequence[ShardTask], jobs: int, report: Counter, notify: Callable[[str], None]
) -> list[ShardResult]:
    """Write shards, or find them written; results in the order of the tasks.

    Args:
        tasks: What to write.
        jobs: 1 works in this process without Ray; more are that many Ray tasks at a time.
        report: Told how far it is.
        notify: Told what is waited for.

    Raises:
        StorageError: A place cannot be read or written.
        RunFailedError: A Ray worker died again and again.
    """
    if min(jobs, len(tasks)) == 1:
        return _in_process(tasks, report)
    return _over_ray(tasks, jobs, report, notify)


def _in_process(tasks: Sequence[ShardTask], report: Counter) -> list[ShardResult]:
    return [write_shard(task, report) for task in tasks]


def _over_ray(
    tasks: Sequence[ShardTask], jobs: int, report: Counter, notify: Callable[[str], None]
) -> list[ShardResult]:
    """Write shards in Ray tasks of one CPU each, with a bounded number in flight."""
    import ray

    with ray_cluster(num_cpus=jobs), tell_of_waiting({"CPU": 1.0}, notify):
        # One thread a task: they would only take the CPUs from each other.
        remote: Any = ray.remote(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})(write_shard)
        waiting = list(reversed(tasks))
        in_flight: dict[Any, ShardTask] = {}
        results: dict[str, ShardResult] = {}
        while waiting or in_flight:
            while waiting and len(in_flight) < _TASKS_AHEAD * jobs:
                task = waiting.pop()
                in_flight[remote.remote(task)] = task
            for reference in ray.wait(list(in_flight), num_returns=1)[0]:
                task = in_flight.pop(reference)
                results[task.note.uri] = _result_of(reference, task)
                report(len(task.items))
    return [results[task.note.uri] for task in tasks]


def _result_of(reference: Any, task: ShardTask) -> ShardResult:
    import ray

    try:
        result: ShardResult = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except ray.exceptions.WorkerCrashedError as error:
        raise RunFailedError(
            f"{task.out / task.file}: its worker died several times; a file between {task.items[0].source} "
            f"and {task.items[-1].source} may crash the decoder, or memory ran out: try fewer --jobs"
        ) from error
    return result
