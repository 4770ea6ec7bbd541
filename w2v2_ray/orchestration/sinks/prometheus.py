"""A run's figures at Ray's Prometheus endpoint; `cluster/grafana/w2v2_ray.json` is a dashboard of them.

Ray puts `ray_` before the names. Every figure has the label `run`.
"""

from __future__ import annotations

import math
from typing import Any

from w2v2_ray.spec.job import TrainJob

GAUGES = {
    "update": ("w2v2_update", "Updates completed"),
    "loss": ("w2v2_loss", "Training loss of the last update logged"),
    "accuracy": ("w2v2_accuracy", "Accuracy of the pretext task"),
    "code_perplexity": ("w2v2_code_perplexity", "Perplexity of the codes in use"),
    "lr": ("w2v2_learning_rate", "Learning rate"),
    "grad_norm": ("w2v2_grad_norm", "Gradient norm before clipping"),
    "world_size": ("w2v2_workers", "Workers"),
    "frames_per_s": ("w2v2_frames_per_second", "Frames a second, all workers"),
    "audio_s_per_s": ("w2v2_audio_seconds_per_second", "Seconds of audio a second, all workers"),
    "update_s": ("w2v2_update_seconds", "Seconds an update"),
    "data_wait_fraction": ("w2v2_data_wait_fraction", "Share of an update spent waiting for data"),
    "peak_memory_bytes": ("w2v2_peak_memory_bytes", "Peak memory of the largest worker"),
    "loss_scale": ("w2v2_loss_scale", "Loss scale of fp16"),
}
"""By field of `metrics.jsonl`."""
EVENT_GAUGES = {
    ("validation", "loss"): ("w2v2_validation_loss", "Held-out loss"),
    ("validation", "wer"): ("w2v2_validation_wer", "Held-out word error rate"),
    ("validation", "accuracy"): ("w2v2_validation_accuracy", "Held-out accuracy of the pretext task"),
    ("checkpoint", "write_s"): ("w2v2_checkpoint_write_seconds", "Seconds the last checkpoint was written for"),
    ("snapshot", "write_s"): ("w2v2_snapshot_write_seconds", "Seconds the last snapshot was written for"),
    ("going_on", "paused_s"): ("w2v2_pause_seconds", "Seconds the others paused when a worker was last lost or came"),
    ("recovered", "seconds_to_next_update"): ("w2v2_recovery_seconds", "Seconds without an update at the last restart"),
}
"""By event and field of it."""
COUNTED = {
    "checkpoint": "states",
    "snapshot": "states",
    "resize": "resizes",
    "going_on": "resizes",
    "recovered": "restarts",
    "rollback": "rollbacks",
    "watchdog": "warnings",
    **dict.fromkeys(("worker_lost", "worker_hung", "node_lost", "oom", "start_failed", "node_drained"), "failures"),
    **dict.fromkeys(("checkpoint_failed", "checkpoint_damaged", "storage_failed"), "storage_failures"),
}
"""Which counter an event adds one to."""
COUNTERS = {
    "states": ("w2v2_states_saved", "Training states saved"),
    "resizes": ("w2v2_resizes", "Changes of the workers"),
    "restarts": ("w2v2_restarts", "Times that training went on after a restart or resize"),
    "rollbacks": ("w2v2_rollbacks", "Times that the watchdog went back"),
    "warnings": ("w2v2_watchdog_verdicts", "What the watchdog noticed"),
    "failures": ("w2v2_failures", "Workers and nodes that were lost, hung, drained, or could not be started"),
    "storage_failures": ("w2v2_storage_failures", "States that could not be written or read"),
    "recomputed": ("w2v2_recomputed_updates", "Updates computed twice"),
    "worker_seconds": ("w2v2_worker_seconds", "Worker-seconds spent on updates"),
}
"""Counters by what they count; those of events have the label `event` too."""


def exported_names() -> set[str]:
    """Names as Prometheus sees them."""
    gauges = {f"ray_{name}" for name, _ in (*GAUGES.values(), *EVENT_GAUGES.values())}
    return gauges | {f"ray_{name}_total" for name, _ in COUNTERS.values()}


class PrometheusSink:
    """Exports a run from the driver; Ray must have been started.

    Args:
        job: Whose run it is.
    """

    def __init__(self, job: TrainJob) -> None:
        from ray.util.metrics import Counter, Gauge

        self._tags = {"run": job.name}
        self._gauges = {name: Gauge(name, text, tag_keys=("run",)) for name, text in _gauges()}
        self._counters = {name: Counter(name, text, tag_keys=("run", "event")) for name, text in COUNTERS.values()}
        self._last: dict[str, Any] = {}

    def metrics(self, record: dict[str, Any]) -> None:
        """Set the gauges."""
        for field, (name, _) in GAUGES.items():
            self._set(name, record.get(field))
        updates = int(record["update"]) - int(self._last.get("update", record["update"] - 1))
        self._count("worker_seconds", "update", max(1, updates) * record["update_s"] * record["world_size"])
        self._last = record

    def event(self, record: dict[str, Any]) -> None:
        """Count the event and set what it measured."""
        name = record["event"]
        if name in COUNTED:
            self._count(COUNTED[name], name, 1.0)
        if record.get("updates_recomputed"):
            self._count("recomputed", name, float(record["updates_recomputed"]))
        for (event, field), (gauge, _) in EVENT_GAUGES.items():
            if event == name:
                self._set(gauge, record.get(field))

    def close(self) -> None:
        """Nothing is held open."""

    def _set(self, name: str, value: Any) -> None:
        if isinstance(value, (int, float)) and math.isfinite(value):
            self._gauges[name].set(float(value), tags=self._tags)

    def _count(self, what: str, event: str, amount: float) -> None:
        if amount > 0:
            self._counters[COUNTERS[what][0]].inc(amount, tags={**self._tags, "event": event})


def _gauges() -> list[tuple[str, str]]:
    return [*GAUGES.values(), *EVENT_GAUGES.values()]
