"""Ingest driven over Ray tasks, or in this process for one job."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from w2v2_ray.data.ingest import count_reasons, finalise, finished_dataset, forget_notes, ingest_folder, write_shard
from w2v2_ray.data.ingest_plan import IngestSettings, ShardResult, ShardTask, ingest_key, plan_shards
from w2v2_ray.data.integrity import check_sizes
from w2v2_ray.data.schema import SAMPLE_RATE, DatasetManifest
from w2v2_ray.data.sources import SourceFormat, guess_format, list_items
from w2v2_ray.data.storage import Location, locate
from w2v2_ray.errors import RunFailedError, UserError

_TASKS_AHEAD = 2  # per job: enough that no worker waits for the driver


class IngestProgress(Protocol):
    """Is told how the ingest goes on."""

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` files are decoded, rejected, or were so already."""
        ...


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest gave.

    Args:
        manifest: The dataset's dataset.json.
        source_format: Format that was read.
        listed: Files listed in the source.
        rejected: How many were left out for each reason.
        was_finished: The dataset was here already, and nothing was done.
        wall_s: Time taken.
    """

    manifest: DatasetManifest
    source_format: SourceFormat
    listed: int
    rejected: dict[str, int]
    was_finished: bool
    wall_s: float

    @property
    def odd(self) -> dict[str, int]:
        """How many were kept with something odd about their signal, for each `SignalNote`."""
        return self.manifest.totals.odd

    @property
    def hours(self) -> float:
        """Audio hours in the dataset."""
        return self.manifest.totals.samples / SAMPLE_RATE / 3600


def prepare_dataset(
    source: str | Path,
    out: str | Path | Location,
    *,
    source_format: SourceFormat | None = None,
    settings: IngestSettings | None = None,
    jobs: int = 1,
    max_rejects: float = 0.01,
    progress: IngestProgress | None = None,
) -> IngestSummary:
    """Turn a source of audio into a dataset; the bytes do not depend on `jobs`.

    Killed or interrupted at any time, the same call goes on with the shards that are not finished.

    Args:
        source: LibriSpeech tree, `.tsv`, `.jsonl` or folder of audio, on this machine (and, on a cluster of several
            nodes, under the same path on all).
        out: Folder or URI of the dataset.
        source_format: None to guess it.
        settings: Codec, limits, shard size.
        jobs: 1 works in this process without Ray; more are that many Ray tasks at a time.
        max_rejects: Fraction of files that may be rejected.
        progress: Told how far it is.

    Raises:
        DatasetError: The source is malformed or empty, `out` holds something else, or too many files were rejected.
        StorageError: A place cannot be read or written.
        RunFailedError: A Ray worker died again and again.
    """
    started_s = time.monotonic()
    place = locate(out)
    settings = settings or IngestSettings()
    source = Path(source).expanduser()
    source_format = source_format or guess_format(source)
    tasks = plan_shards(list_items(source, source_format), settings, place)
    listed = sum(len(task.items) for task in tasks)
    manifest = finished_dataset(place, ingest_key(tasks))
    if manifest is not None:
        check_sizes(place, manifest)
        forget_notes(place)
        return IngestSummary(manifest, source_format, listed, {}, True, time.monotonic() - started_s)
    with ingest_folder(place):
        report = _Counter(progress, listed)
        report(0)
        results = _in_process(tasks, report) if min(jobs, len(tasks)) == 1 else _over_ray(tasks, jobs, report)
        manifest = finalise(tasks, results, place, max_rejects)
    forget_notes(place)
    rejected = count_reasons([reject for result in results for reject in result.rejects])
    return IngestSummary(manifest, source_format, listed, rejected, False, time.monotonic() - started_s)


class _Counter:
    """Adds up what is done."""

    def __init__(self, progress: IngestProgress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self, more: int) -> None:
        self._done += more
        if self._progress is not None:
            self._progress(self._done, self._total)


def _in_process(tasks: Sequence[ShardTask], report: _Counter) -> list[ShardResult]:
    return [write_shard(task, report) for task in tasks]


def _over_ray(tasks: Sequence[ShardTask], jobs: int, report: _Counter) -> list[ShardResult]:
    """Write shards in Ray tasks of one CPU each, with a bounded number in flight."""
    import ray

    with _ray(jobs):
        # One thread a task: they would only take the CPUs from each other.
        remote: Any = ray.remote(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})(write_shard)
        waiting = list(reversed(tasks))
        in_flight: dict[Any, ShardTask] = {}
        results: dict[int, ShardResult] = {}
        while waiting or in_flight:
            while waiting and len(in_flight) < _TASKS_AHEAD * jobs:
                task = waiting.pop()
                in_flight[remote.remote(task)] = task
            for reference in ray.wait(list(in_flight), num_returns=1)[0]:
                task = in_flight.pop(reference)
                results[task.number] = _result_of(reference, task)
                report(len(task.items))
    return [results[task.number] for task in tasks]


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


@contextmanager
def _ray(jobs: int) -> Iterator[None]:
    """A Ray to run in: the one this process uses or RAY_ADDRESS names, else a local one that ends with the block."""
    import os

    import ray

    if ray.is_initialized():
        yield
        return
    # "local" always starts a Ray of its own; without it, one that happens to run on this machine would be joined.
    options: dict[str, Any] = {"address": "local", "num_cpus": jobs, "include_dashboard": False}
    ray.init(log_to_driver=False, logging_level="ERROR", **({} if "RAY_ADDRESS" in os.environ else options))
    try:
        yield
    finally:
        ray.shutdown()
