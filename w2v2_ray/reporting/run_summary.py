"""What a run has come to, from what it wrote about itself: for `status` and `report`, in progress or finished."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from w2v2_ray.errors import UserError
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.loading import load_job_of

State = Literal["starting", "waiting", "training", "silent", "stopped", "finished", "failed"]

FAILURES = ("worker_lost", "worker_hung", "node_lost", "oom", "start_failed", "failed")
"""Events that tell of a misfortune of workers or nodes."""
TROUBLE = (*FAILURES, "checkpoint_failed", "checkpoint_damaged", "storage_failed", "watchdog", "rollback")
"""Events that somebody may want to look into."""
_WORKERS_RAN = ("start", "resume", "recovered", "going_on")
_RECENT = 20
_SILENT_S = 180.0
_SILENT_UPDATES = 20


@dataclass(frozen=True)
class RunRecords:
    """What a run wrote.

    Attributes:
        name: The run's.
        place: Its folder or URI.
        job: Its spec; None when there is none yet, or of another version.
        metrics: Lines of `metrics.jsonl`.
        events: Lines of `events.jsonl`.
    """

    name: str
    place: str
    job: TrainJob | None
    metrics: list[dict[str, Any]] = field(repr=False)
    events: list[dict[str, Any]] = field(repr=False)

    def named(self, *names: str) -> list[dict[str, Any]]:
        """Events of these names."""
        return [event for event in self.events if event["event"] in names]


@dataclass(frozen=True)
class WorkerTime:
    """Worker-hours of a run: what it costs.

    Attributes:
        total_h: While a driver was running, from the launch to the last update.
        training_h: Of them spent on updates that count; the rest went into starts, restarts and updates computed twice.
    """

    total_h: float
    training_h: float

    @property
    def useful(self) -> float:
        """The share spent on updates that count."""
        return self.training_h / self.total_h if self.total_h else 0.0


@dataclass(frozen=True)
class RunSummary:
    """A run in a few figures. Times are seconds since 1970, of the machines that wrote them.

    Attributes:
        name: The run's.
        place: Its folder or URI.
        kind: What it does.
        state: `silent` is a run that has not ended and has written nothing for long: its driver is probably dead.
        update: The last one.
        updates: How many are wanted; None when that is not known.
        latest: The last line of metrics.
        loss: Mean over the newest lines, where there are some.
        validation: The newest held-out figures.
        best: The best held-out score and its update.
        workers: Now.
        update_s: Median of the newest lines.
        left_s: Until the last update, at that pace; None when it is not training.
        started: First launch.
        seen: Last sign of life.
        cost: Worker-hours.
        launches: Drivers that were started.
        resizes: Changes of the number of workers.
        paused_s: Of each time that the others went on without who was lost, or with who came: how long they paused.
        failures: Events of misfortune by name.
        waiting: What it waits for, when it does.
        start_failure: Why workers could not be started last, where that happened since they ran.
        recomputed: Updates computed twice.
        checkpoint: The newest state.
    """

    name: str
    place: str
    kind: str | None
    state: State
    update: int
    updates: int | None
    latest: dict[str, Any]
    loss: float | None
    validation: dict[str, Any] | None
    best: tuple[float, int] | None
    workers: int | None
    update_s: float | None
    left_s: float | None
    started: float | None
    seen: float | None
    cost: WorkerTime
    launches: int
    resizes: int
    paused_s: tuple[float, ...]
    failures: dict[str, int]
    recomputed: int
    checkpoint: dict[str, Any] | None
    waiting: str | None = None
    start_failure: str | None = None

    @property
    def elapsed_s(self) -> float:
        """From the first launch to the last sign of life."""
        return (self.seen - self.started) if self.seen and self.started else 0.0


def read_run(run: RunFolder) -> RunRecords:
    """Read what a run wrote. Of a run on an object store, as it was when it was last brought here."""
    job = None
    if run.spec.is_file():
        try:
            job = load_job_of(TrainJob, run.spec).job
        except UserError:
            job = None  # of another version: the curves can be shown all the same
    place = run.place
    name = job.name if job is not None else place.partition("?")[0].rstrip("/").rpartition("/")[2]
    return RunRecords(name, place, job, list(read_lines(run.metrics)), list(read_lines(run.events)))


def summarise(records: RunRecords, now: float | None = None) -> RunSummary:
    """Work the figures out.

    Args:
        records: What the run wrote.
        now: Seconds since 1970; None asks the clock.
    """
    metrics, events = records.metrics, records.events
    latest = metrics[-1] if metrics else {}
    newest = metrics[-_RECENT:]
    seen = max((float(entry["time"]) for entry in (*metrics[-1:], *events[-1:])), default=None)
    update_s = _median([float(record["update_s"]) for record in newest if "update_s" in record])
    state = _state(records, seen, update_s, time.time() if now is None else now)
    wanted = records.job.updates if records.job is not None else None
    ends = records.named("end")
    update = int(ends[-1]["update"]) if state == "finished" else int(latest.get("update", 0))
    validations = records.named("validation")
    failures: dict[str, int] = {}
    for event in records.named(*TROUBLE):
        failures[event["event"]] = failures.get(event["event"], 0) + 1
    saved = records.named("checkpoint", "snapshot")
    return RunSummary(
        name=records.name,
        place=records.place,
        kind=records.job.kind if records.job is not None else None,
        state=state,
        update=update,
        updates=wanted,
        latest=latest,
        loss=sum(float(record["loss"]) for record in newest) / len(newest) if newest else None,
        validation=validations[-1] if validations else None,
        best=_best(validations),
        workers=latest.get("world_size"),
        update_s=update_s,
        left_s=(wanted - update) * update_s if state == "training" and wanted and update_s else None,
        started=float(events[0]["time"]) if events else (float(metrics[0]["time"]) if metrics else None),
        seen=seen,
        cost=worker_time(records),
        launches=len(records.named("launch")),
        resizes=len(records.named("resize")) + sum(e["from"] != e["to"] for e in records.named("going_on")),
        paused_s=tuple(float(event["paused_s"]) for event in records.named("going_on")),
        failures=failures,
        recomputed=sum(int(event.get("updates_recomputed", 0)) for event in records.named("recovered")),
        checkpoint=saved[-1] if saved else None,
        waiting=_since_workers_ran(records, "waiting") if state == "waiting" else None,
        start_failure=_since_workers_ran(records, "start_failed"),
    )


def _state(records: RunRecords, seen: float | None, update_s: float | None, now: float) -> State:
    turning_points = records.named("waiting", "interrupted", *_WORKERS_RAN, "launch", "end", "failed")
    last = turning_points[-1]["event"] if turning_points else "launch"
    if last == "end":
        return "finished"
    if last == "failed":
        return "failed"
    if last == "interrupted":
        return "stopped"
    if seen is not None and now - seen > max(_SILENT_S, _SILENT_UPDATES * (update_s or 0.0)):
        return "silent"
    if last == "waiting":
        return "waiting"
    return "starting" if last == "launch" else "training"


def _since_workers_ran(records: RunRecords, name: str) -> str | None:
    """The reason of the newest event of a name, unless workers ran after it or the run was launched again."""
    for event in reversed(records.events):
        if event["event"] == name:
            return str(event.get("reason") or "unknown")
        if event["event"] in (*_WORKERS_RAN, "launch"):
            return None
    return None


def worker_time(records: RunRecords) -> WorkerTime:
    """Worker-hours: each stretch between two lines of metrics counts for as many workers as the later line had.

    A stretch in which the driver was started again counts from that start: nothing was paid for while none ran.
    """
    launches = sorted(float(event["time"]) for event in records.named("launch"))
    total_s = training_s = 0.0
    before = launches[0] if launches else None
    last_update = 0
    for record in records.metrics:
        at, workers, update = float(record["time"]), int(record["world_size"]), int(record["update"])
        if before is not None:
            began = max([before, *(launch for launch in launches if before < launch < at)])
            stretch_s = max(0.0, at - began)
            total_s += workers * stretch_s
            training_s += workers * min(stretch_s, float(record.get("update_s", 0.0)) * (update - last_update))
        before, last_update = at, update
    return WorkerTime(total_s / 3600, training_s / 3600)


def _best(validations: Sequence[dict[str, Any]]) -> tuple[float, int] | None:
    scores = [(float(v.get("wer", v["loss"])), int(v["update"])) for v in validations if "loss" in v or "wer" in v]
    return min((score for score in scores if score[0] == score[0]), default=None)


def _median(values: Sequence[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None
