"""Trained points compared: loss and accuracy at equal updates and after equal time."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from w2v2_ray.run import names
from w2v2_ray.run.folder import read_lines
from w2v2_ray.training.budget import trained_s
from w2v2_ray.tune.folder import SweepFolder
from w2v2_ray.tune.measurement import Measurement

_SMOOTHED = 0.05
"""Share of the updates before a moment over which losses are averaged: single ones jump with their micro-batches."""

Curve = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Trained:
    """One configuration after training.

    Attributes:
        key: The point's.
        finished: Whether it spent its whole budget; the scheduler ended the others.
        updates: The last one.
        seconds: Training time.
        loss_at_updates: Mean over repeats of the loss at the updates that all finished ones reached.
        loss_at_time: The same after the time that all finished ones had.
        accuracy_at_time: Of the pretext task, where there is one.
    """

    key: str
    finished: bool
    updates: int
    seconds: float
    loss_at_updates: float | None
    loss_at_time: float | None
    accuracy_at_time: float | None


@dataclass(frozen=True)
class Comparison:
    """All configurations at the moments that all finished ones share."""

    updates: int
    seconds: float
    trained: dict[str, Trained]

    def losses(self) -> dict[str, float]:
        """Loss at equal time of the points that got there, by key."""
        return {k: t.loss_at_time for k, t in self.trained.items() if t.finished and t.loss_at_time is not None}


def read_curve(folder: SweepFolder, measurement: Measurement) -> list[dict[str, float]]:
    """`update`, `trained_s`, `loss` and, in pre-training, `accuracy` of every metrics line of a trained point."""
    records = list(read_lines(folder.runs / f"{measurement.key}-{measurement.repeat}" / names.METRICS))
    columns = ("update", "loss", "accuracy")
    return [
        {**{name: float(record[name]) for name in columns if name in record}, "trained_s": seconds}
        for record, seconds in zip(records, trained_s(records), strict=True)
    ]


def compare(curves: Sequence[tuple[Measurement, Curve]]) -> Comparison:
    """Compare trained points.

    Args:
        curves: Every repeat of every point that trained at all.
    """
    with_lines = [(entry, curve) for entry, curve in curves if curve and entry.ok]
    finished = [curve for entry, curve in with_lines if entry.figures.get("finished")]
    shared = finished or [curve for _, curve in with_lines]
    updates = int(min((curve[-1]["update"] for curve in shared), default=0))
    seconds = min((curve[-1]["trained_s"] for curve in shared), default=0.0)
    by_key: dict[str, list[tuple[Measurement, Curve]]] = {}
    for entry, curve in with_lines:
        by_key.setdefault(entry.key, []).append((entry, curve))
    trained = {key: _trained(key, entries, updates, seconds) for key, entries in by_key.items()}
    return Comparison(updates, seconds, trained)


def _trained(key: str, entries: Sequence[tuple[Measurement, Curve]], updates: int, seconds: float) -> Trained:
    curves = [curve for _, curve in entries]
    return Trained(
        key=key,
        finished=all(bool(entry.figures.get("finished")) for entry, _ in entries),
        updates=int(min(curve[-1]["update"] for curve in curves)),
        seconds=min(curve[-1]["trained_s"] for curve in curves),
        loss_at_updates=_mean([value_at(curve, "update", updates, "loss") for curve in curves]),
        loss_at_time=_mean([value_at(curve, "trained_s", seconds, "loss") for curve in curves]),
        accuracy_at_time=_mean([value_at(curve, "trained_s", seconds, "accuracy") for curve in curves]),
    )


def value_at(curve: Curve, axis: str, moment: float, name: str) -> float | None:
    """A figure just before a moment, averaged over the last updates; None when the curve ends before it.

    Args:
        curve: Metrics lines in order.
        axis: `update` or `trained_s`.
        moment: On that axis.
        name: The figure.
    """
    if not curve or curve[-1][axis] < moment:
        return None
    before = [record for record in curve if record[axis] <= moment and name in record]
    if not before:
        return None
    last = before[-max(1, round(len(before) * _SMOOTHED)) :]
    return statistics.fmean(record[name] for record in last)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None
