"""The drawings of a run's report, as SVG to be put into a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from w2v2_ray.reporting.drawing import (
    BLUE,
    GREEN,
    HALF,
    INK,
    ORANGE,
    PALE_BLUE,
    PURPLE,
    RED,
    WIDE,
    Chart,
    drawn_axis,
)
from w2v2_ray.reporting.run_summary import FAILURES, RunRecords

_MOST_POINTS = 1_200


def charts(records: RunRecords) -> dict[str, Chart]:
    """All drawings that the run has figures for, by name; wide ones are `loss` and `timeline`."""
    makers: dict[str, Callable[[RunRecords], Chart | None]] = {
        "loss": _loss,
        "timeline": _timeline,
        "learned": _learned,
        "throughput": _throughput,
        "memory": _memory,
        "steps": _steps,
    }
    made = {name: make(records) for name, make in makers.items()}
    return {name: chart for name, chart in made.items() if chart is not None}


def _thin(values: Sequence[float], keep: Callable[[Any], Any] = np.mean) -> np.ndarray[Any, Any]:
    """At most `_MOST_POINTS` values, each standing for a stretch of the run."""
    array = np.asarray(values, dtype=float)
    if len(array) <= _MOST_POINTS:
        return array
    return np.array([keep(part) for part in np.array_split(array, _MOST_POINTS)])


def _column(records: RunRecords, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    pairs = [(r["update"], r[name]) for r in records.metrics if isinstance(r.get(name), (int, float))]
    return _thin([p[0] for p in pairs]), _thin([p[1] for p in pairs])


def _smooth(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A running mean over a fiftieth of the run."""
    width = max(1, len(values) // 50)
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def _loss(records: RunRecords) -> Chart | None:
    updates, loss = _column(records, "loss")
    if not len(updates):
        return None
    with drawn_axis("loss", WIDE) as (axis, svg):
        axis.plot(updates, loss, color=PALE_BLUE, lw=1.0)
        axis.plot(updates, _smooth(loss), color=BLUE, lw=1.8, label="training")
        held_out = [event for event in records.named("validation") if "loss" in event]
        if held_out:
            axis.plot(
                [e["update"] for e in held_out], [e["loss"] for e in held_out], "o-", color=ORANGE, ms=3.5, lw=1.2,
                label="held-out",
            )  # fmt: skip
        for event in records.named("recovered"):
            axis.axvline(event["update"], color=RED, lw=0.8, alpha=0.35)
        for event in records.named("rollback"):
            axis.axvline(event["update"], color=PURPLE, lw=1.0, alpha=0.6, ls="--")
        axis.set_xlabel("update   (red: gone on after a restart or resize here)")
        axis.legend(loc="upper right", ncols=2)
        return "Loss", svg()


def _timeline(records: RunRecords) -> Chart | None:
    if not records.metrics:
        return None
    start = float((records.events or records.metrics)[0]["time"])
    minutes = (float(records.metrics[-1]["time"]) - start) / 60
    unit, scale = ("hours", 60.0) if minutes > 180 else ("minutes", 1.0)
    with drawn_axis("timeline", WIDE) as (axis, svg):
        xs, ys = _stretches(records, start, 60 * scale)
        axis.fill_between(xs, ys, step="post", color=PALE_BLUE, alpha=0.6, lw=0)
        axis.step(xs, ys, where="post", color=BLUE, lw=1.6)
        top = max(int(record["world_size"]) for record in records.metrics)
        marks = (
            (FAILURES, "v", RED, "failure"),
            (("node_drained", "left"), "v", ORANGE, "node given back"),
            (("resize",), "D", PURPLE, "resize"),
            (("going_on",), "D", GREEN, "gone on"),
            (("launch",), "^", GREEN, "launch"),
            (("checkpoint_failed", "storage_failed", "checkpoint_damaged"), "X", ORANGE, "storage"),
            (("rollback",), "s", INK, "rollback"),
        )
        for names, marker, colour, label in marks:
            at = [(float(event["time"]) - start) / 60 / scale for event in records.named(*names)]
            if at:
                axis.plot(at, [top + 0.35] * len(at), marker, color=colour, ms=6, label=label, clip_on=False)
        saved = [(float(event["time"]) - start) / 60 / scale for event in records.named("checkpoint", "snapshot")]
        axis.plot(saved, [0.0] * len(saved), "|", color=GREEN, ms=6, alpha=0.6, label="state saved")
        axis.set_ylim(-0.05, top + 0.6)
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel(f"{unit} since the first launch")
        axis.set_ylabel("workers")
        axis.legend(loc="upper center", ncols=7, bbox_to_anchor=(0.5, 1.2))
        return "Workers and what happened", svg()


def _stretches(records: RunRecords, start: float, scale_s: float) -> tuple[list[float], list[int]]:
    """Corners of the workers' curve: a line of metrics covers the time of its updates, between lines there is none."""
    xs, ys = [0.0], [0]
    end, update = start, 0
    for record in records.metrics:
        at, update_s = float(record["time"]), float(record.get("update_s", 0.0))
        began = max(end, at - update_s * max(1, int(record["update"]) - update))
        if began - end > max(1.0, update_s):
            xs += [(end - start) / scale_s, (began - start) / scale_s]
            ys += [0, int(record["world_size"])]
        elif ys[-1] != record["world_size"]:
            xs.append((end - start) / scale_s)
            ys.append(int(record["world_size"]))
        end, update = at, int(record["update"])
    return [*xs, (end - start) / scale_s], [*ys, ys[-1]]


def _learned(records: RunRecords) -> Chart | None:
    held_out = [event for event in records.named("validation") if "wer" in event]
    if held_out:
        with drawn_axis("learned", HALF) as (axis, svg):
            for name, colour in (("wer", ORANGE), ("cer", BLUE)):
                points = [(e["update"], 100 * e[name]) for e in held_out if name in e]
                axis.plot([p[0] for p in points], [p[1] for p in points], "o-", color=colour, ms=3, label=name.upper())
            axis.set_ylabel("%")
            axis.legend()
            return "Held-out error rates", svg()
    updates, accuracy = _column(records, "accuracy")
    if not len(updates):
        return None
    with drawn_axis("learned", HALF) as (axis, svg):
        axis.plot(updates, 100 * _smooth(accuracy), color=BLUE, lw=1.5, label="accuracy, %")
        axis.set_ylabel("accuracy, %")
        other = axis.twinx()
        other.spines[["top", "right", "left"]].set_visible(False)
        other.tick_params(length=0)
        other.grid(visible=False)
        other.plot(*_column(records, "code_perplexity"), color=GREEN, lw=1.2)
        other.set_ylabel("code perplexity", color=GREEN)
        return "Accuracy and code perplexity", svg()


def _throughput(records: RunRecords) -> Chart | None:
    updates, speed = _column(records, "audio_s_per_s")
    if not len(updates):
        return None
    with drawn_axis("throughput", HALF) as (axis, svg):
        axis.plot(updates, speed, color=PALE_BLUE, lw=1.0)
        axis.plot(updates, _smooth(speed), color=BLUE, lw=1.6)
        axis.set_ylim(bottom=0)
        axis.set_ylabel("seconds of audio a second")
        axis.set_xlabel("update")
        return "Throughput", svg()


def _memory(records: RunRecords) -> Chart | None:
    updates, memory = _column(records, "peak_memory_bytes")
    if not len(updates):
        return None
    with drawn_axis("memory", HALF) as (axis, svg):
        axis.plot(updates, memory / 2**30, color=PURPLE, lw=1.6)
        axis.set_ylim(bottom=0)
        axis.set_ylabel("peak of the largest worker, GiB")
        axis.set_xlabel("update")
        return "Memory", svg()


def _steps(records: RunRecords) -> Chart | None:
    updates, seconds = _column(records, "update_s")
    if not len(updates):
        return None
    _, waiting = _column(records, "data_wait_fraction")
    with drawn_axis("steps", HALF) as (axis, svg):
        axis.plot(updates, _smooth(seconds), color=BLUE, lw=1.6, label="an update")
        if len(waiting) == len(seconds):
            axis.plot(updates, _smooth(seconds * waiting), color=ORANGE, lw=1.4, label="of it waiting for data")
        axis.set_ylim(bottom=0)
        axis.set_ylabel("seconds")
        axis.set_xlabel("update")
        axis.legend()
        return "Time of an update", svg()
