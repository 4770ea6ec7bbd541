"""What Ray Tune runs for a trial. It starts the engine in a process of its own and keeps what came of it.

Every trial ends well for Ray Tune: running out of memory, a loss that is not a number, a crash and a timeout are
results with a reason.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.training.budget import trained_s
from w2v2_ray.tune.find_concat import concat_values, largest_that_fits
from w2v2_ray.tune.folder import KeptPoint, SweepFolder
from w2v2_ray.tune.measurement import Measurement
from w2v2_ray.tune.process import run_trial

REPORTED = (
    "frames_per_s",
    "masked_frames_per_s",
    "audio_s_per_s",
    "step_p50_s",
    "peak_memory_bytes",
    "reserved_memory_bytes",
    "loss",
)
"""Figures that Ray Tune, and so TensorBoard, is told of a measurement."""


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a sweep share; plain values, because Ray carries it to the workers.

    Attributes:
        folder: The sweep's.
        measure: Fields of `engine.throughput.Request`.
        workers: Processes of a throughput trial; None takes the point's `elastic.max_workers`.
        concurrency: Trials on a node at once.
        timeout_s: For one measurement.
        repeats: Measurements of a point, where one trial makes them all.
        largest_concat: Of `find_concat`.
        budget_updates: Of `quality`.
        budget_s: Of `quality`.
        report_updates: Of `quality`.
    """

    folder: str
    measure: dict[str, Any]
    workers: int | None
    concurrency: int
    timeout_s: float
    repeats: int
    largest_concat: int | None = None
    budget_updates: int | None = None
    budget_s: float | None = None
    report_updates: int = 1


def measure_trial(config: dict[str, Any], settings: TrialSettings) -> None:
    """One measurement of one point."""
    config = config["trial"]
    measurement = measure_once(settings, SweepFolder(settings.folder).point(config["key"]), config["repeat"])
    tune.report(_reported(measurement))


def paired_trial(config: dict[str, Any], settings: TrialSettings) -> None:
    """All measurements of a point that a search proposed, each after one of the baseline: A B A B."""
    folder = SweepFolder(settings.folder)
    point, baseline = folder.point(config["key"]), folder.point(config["baseline"])
    made = []
    for repeat in range(settings.repeats):
        against = measure_once(settings, baseline, config["number"] * settings.repeats + repeat)
        mine = against if point.key == baseline.key else measure_once(settings, point, repeat)
        made.append((against, mine))
        if not mine.ok:
            break
    told = _reported(made[-1][1])
    pairs = [(a.figures["frames_per_s"], b.figures["frames_per_s"]) for a, b in made if a.ok and b.ok]
    ratios = sorted(mine / against for against, mine in pairs)
    told["speed_up"] = ratios[len(ratios) // 2] if ratios and made[-1][1].ok else 0.0
    tune.report(told)


def concat_trial(config: dict[str, Any], settings: TrialSettings) -> None:
    """The largest `batch.concat` of one point that fits."""
    config = config["trial"]
    folder = SweepFolder(settings.folder)
    point = folder.point(config["key"])
    made: dict[int, Measurement] = {}

    def fits(concat: int) -> bool:
        made[concat] = measure_once(settings, point, 0, concat)
        return made[concat].ok

    values = concat_values(int(point.trial_job["batch"]["sub_batches_per_update"]), settings.largest_concat)
    best = largest_that_fits(values, fits)
    last = made[best] if best is not None else made[min(made)]
    tune.report({**_reported(last), "largest_concat": best or 0})


def measure_once(settings: TrialSettings, point: KeptPoint, repeat: int, concat: int | None = None) -> Measurement:
    """Measure a point in a fresh process, or read what was measured before."""
    folder = SweepFolder(settings.folder)
    measurements = folder.measurements
    found = measurements.find(point.key, repeat, concat)
    if found is not None:
        return found
    job = point.trial_job
    if concat is not None:  # one micro-batch tells how much memory all need
        job = {**job, "batch": {**job["batch"], "concat": concat, "sub_batches_per_update": concat}}
    workers = settings.workers or int(job["elastic"]["max_workers"])
    name = Measurement(point.key, repeat, "ok", concat=concat).file_name.removesuffix(".json")
    request = {
        "mode": "measure",
        "job": job,
        "run": str(folder.path / "work" / name),
        "measure": settings.measure,
    }
    started, clock = time.time(), time.monotonic()
    outcome = run_trial(request, workers=workers, timeout_s=settings.timeout_s, log=folder.logs / f"{name}.log")
    measurement = Measurement(
        key=point.key,
        repeat=repeat,
        status=outcome.status,
        reason=outcome.reason,
        figures=outcome.figures,
        started=started,
        wall_s=time.monotonic() - clock,
        concat=concat,
    )
    measurements.write(measurement)
    return measurement


def quality_trial(config: dict[str, Any], settings: TrialSettings) -> None:
    """Train one point, and tell Ray Tune how it goes, until the budget is spent or the scheduler has seen enough."""
    config = config["trial"]
    folder = SweepFolder(settings.folder)
    point, repeat = folder.point(config["key"]), int(config["repeat"])
    found = folder.measurements.find(point.key, repeat)
    if found is not None and found.figures.get("finished"):
        tune.report(_reported(found))
        return
    name = f"{point.key}-{repeat}"
    run = RunFolder(folder.runs / name)
    started, clock = time.time(), time.monotonic()
    follower = _Follower(run.metrics, settings.report_updates, config.get("configuration", name))

    def keep(status: Any, reason: str | None, *, finished: bool) -> Measurement:
        figures = {**follower.latest, "finished": finished}
        measurement = Measurement(point.key, repeat, status, reason, figures, started, wall_s=time.monotonic() - clock)
        folder.measurements.write(measurement)
        return measurement

    def look() -> None:
        for figures in follower.news():
            # Before the report: the scheduler may end this process there.
            budget = settings.budget_updates
            keep("ok", None, finished=budget is not None and figures["update"] >= budget)
            tune.report(figures)

    request = {
        "mode": "train",
        "job": {**point.trial_job, "name": name, "storage_path": str(folder.runs)},
        "run": str(run.path),
        "budget_updates": settings.budget_updates,
        "budget_s": settings.budget_s,
    }
    outcome = run_trial(request, timeout_s=None, log=folder.logs / f"{name}.log", while_running=look)
    look()
    measurement = keep(outcome.status, outcome.reason, finished=True)
    tune.report(_reported(measurement))


class _Follower:
    """New lines of a run's metrics, as reports."""

    def __init__(self, path: Path, every_updates: int, name: str) -> None:
        self._path = path
        self._every = every_updates
        self._reported = 0
        self.name = name
        self.latest: dict[str, Any] = {}

    def news(self) -> list[dict[str, Any]]:
        """What is due since the last look; `latest` is the newest line."""
        records = list(read_lines(self._path))
        if not records:
            return []
        times = trained_s(records)
        self.latest = quality_figures(records[-1], times[-1])
        due = []
        for record, spent_s in zip(records, times, strict=True):
            if record["update"] >= self._reported + self._every:
                self._reported = int(record["update"]) // self._every * self._every
                due.append(quality_figures(record, spent_s))
        return due


def quality_figures(record: dict[str, Any], spent_s: float) -> dict[str, Any]:
    """What a metrics line of a quality trial says of it."""
    names = ("update", "loss", "accuracy", "frames_per_s", "masked_frames_per_s", "audio_s_per_s", "peak_memory_bytes")
    return {**{name: record[name] for name in names if name in record}, "trained_s": spent_s}


def _reported(measurement: Measurement) -> dict[str, Any]:
    names = (*REPORTED, "update", "accuracy", "trained_s")
    figures = {name: measurement.figures[name] for name in names if measurement.figures.get(name) is not None}
    # ASHA reads the loss of every report.
    figures.setdefault("loss", math.nan)
    figures.setdefault("update", 0)
    return {**figures, "status": measurement.status, "reason": measurement.reason or ""}
