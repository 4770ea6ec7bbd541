"""From single measurements to one line for each configuration: medians, spreads, and how it compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from w2v2_ray.reporting.spread import Spread
from w2v2_ray.tune.folder import KeptPoint
from w2v2_ray.tune.measurement import Measurement
from w2v2_ray.tune.pareto import pareto_front
from w2v2_ray.tune.published import Published, published_for


def _spread_of(values: Sequence[float]) -> Spread | None:
    """None where nothing was measured."""
    return Spread.of(values) if values else None


@dataclass(frozen=True)
class Row:
    """One configuration.

    Attributes:
        point: Which.
        is_baseline: Whether it is what the others are compared with.
        measured: Its measurements that gave figures.
        failed: Those that did not.
        frames_per_s: Throughput.
        masked_frames_per_s: Throughput in the published tables' "tokens".
        speed_up: Against the baseline's measurement nearest in time.
        cpu_speed_up: The same in frames per second of CPU time, of trials on the CPU: what other programs take does
            not enter.
        memory_bytes: Peak.
        memory_percent: Of the baseline's, medians.
        activation_percent: The same without weights, gradients and optimizer state.
        published: The published line for this configuration.
        on_front: Not beaten in throughput and memory together (and loss, where points were trained).
    """

    point: KeptPoint
    is_baseline: bool
    measured: tuple[Measurement, ...]
    failed: tuple[Measurement, ...]
    frames_per_s: Spread | None
    masked_frames_per_s: Spread | None
    speed_up: Spread | None
    cpu_speed_up: Spread | None
    memory_bytes: Spread | None
    memory_percent: Spread | None
    activation_percent: float | None
    published: Published | None
    on_front: bool = False

    @property
    def label(self) -> str:
        """What to call it."""
        return self.point.label

    @property
    def failure(self) -> Measurement | None:
        """Why it has no figures, when it has none."""
        return self.failed[0] if self.failed and not self.measured else None

    def figure(self, name: str) -> float | None:
        """Median of any figure."""
        spread = _spread_of(figures(self.measured, name))
        return spread.median if spread is not None else None


def figures(measurements: Iterable[Measurement], name: str) -> list[float]:
    """The values of one figure, where it was measured."""
    values = (entry.figures.get(name) for entry in measurements)
    return [float(value) for value in values if value is not None and math.isfinite(float(value))]


def summarise(
    points: Mapping[str, KeptPoint],
    measurements: Sequence[Measurement],
    baseline: str,
    *,
    loss: Mapping[str, float] | None = None,
) -> list[Row]:
    """One row for each configuration that was tried, the baseline first, the others in the order of the space.

    Args:
        points: By key, in the order of the space.
        measurements: All of them.
        baseline: Its key.
        loss: Of trained points, by key: a third objective of the Pareto front.
    """
    by_key: dict[str, list[Measurement]] = {}
    for entry in measurements:
        if entry.key in points and entry.concat is None:
            by_key.setdefault(entry.key, []).append(entry)
    against = [entry for entry in by_key.get(baseline, []) if entry.ok]
    order = [key for key in points if key in by_key]
    order.sort(key=lambda key: key != baseline)
    rows = [_row(points[key], points[baseline], by_key[key], against) for key in order]
    return _with_front(rows, loss)


def _row(point: KeptPoint, baseline: KeptPoint, entries: Sequence[Measurement], against: Sequence[Measurement]) -> Row:
    measured = tuple(entry for entry in entries if entry.ok)
    memory = _spread_of(figures(measured, "peak_memory_bytes"))
    base_memory = _spread_of(figures(against, "peak_memory_bytes"))
    state, base_state = (_median(entries, "state_bytes") for entries in (measured, against))
    percent = activations = None
    if memory is not None and base_memory is not None and base_memory.median:
        scale = 100.0 / base_memory.median
        percent = Spread(memory.median * scale, memory.low * scale, memory.high * scale, memory.count)
        if state is not None and base_state is not None and base_memory.median > base_state:
            activations = 100.0 * (memory.median - state) / (base_memory.median - base_state)
    return Row(
        point=point,
        is_baseline=point.key == baseline.key,
        measured=measured,
        failed=tuple(entry for entry in entries if not entry.ok),
        frames_per_s=_spread_of(figures(measured, "frames_per_s")),
        masked_frames_per_s=_spread_of(figures(measured, "masked_frames_per_s")),
        speed_up=_speed_up(measured, against, _frames_per_s),
        cpu_speed_up=_speed_up(measured, against, _frames_per_cpu_s),
        memory_bytes=memory,
        memory_percent=percent,
        activation_percent=activations,
        published=published_for(point.trial_job, baseline.trial_job),
    )


def _median(measurements: Sequence[Measurement], name: str) -> float | None:
    spread = _spread_of(figures(measurements, name))
    return spread.median if spread is not None else None


def _speed_up(
    measured: Sequence[Measurement],
    against: Sequence[Measurement],
    speed: Callable[[Measurement], float | None],
) -> Spread | None:
    """Each measurement over the baseline's nearest in time, so that a machine that drifts does not decide."""
    ratios = []
    for entry in measured:
        if against:
            nearest = min(against, key=lambda other: abs(_middle(other) - _middle(entry)))
            mine, other = speed(entry), speed(nearest)
            if mine and other:
                ratios.append(mine / other)
    return _spread_of(ratios)


def _frames_per_s(entry: Measurement) -> float | None:
    value = entry.figures.get("frames_per_s")
    return float(value) if value is not None else None


def _frames_per_cpu_s(entry: Measurement) -> float | None:
    found = entry.figures
    on_cpu = str(found.get("device", "")).startswith("CPU") and found.get("cpu_s")
    return float(found["frames"]) / float(found["cpu_s"]) if on_cpu else None


def _middle(entry: Measurement) -> float:
    return entry.started + entry.wall_s / 2


def _with_front(rows: Sequence[Row], loss: Mapping[str, float] | None) -> list[Row]:
    candidates = [
        row
        for row in rows
        if row.frames_per_s is not None and row.memory_bytes is not None and (loss is None or row.point.key in loss)
    ]
    costs = [
        (-_speed(row), row.memory_bytes.median if row.memory_bytes else math.inf, *_loss_of(row, loss))
        for row in candidates
    ]
    best = {candidates[index].point.key for index in pareto_front(costs)} if candidates else set()
    return [Row(**{**row.__dict__, "on_front": row.point.key in best}) for row in rows]


def _speed(row: Row) -> float:
    """What ranks configurations: the speed-up, which a drifting machine does not bend, else frames per second."""
    spread = row.speed_up or row.frames_per_s
    return spread.median if spread is not None else 0.0


def _loss_of(row: Row, loss: Mapping[str, float] | None) -> tuple[float, ...]:
    return () if loss is None else (loss[row.point.key],)


def winner(rows: Sequence[Row], loss: Mapping[str, float] | None = None) -> Row | None:
    """The configuration to train: the lowest loss where points were trained, else the fastest."""
    measured = [row for row in rows if row.measured and (row.speed_up or row.frames_per_s or loss)]
    if loss is not None:
        measured = [row for row in measured if row.point.key in loss]
        return min(measured, key=lambda row: loss[row.point.key], default=None)
    return max(measured, key=_speed, default=None)


def trial_records(points: Mapping[str, KeptPoint], measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    """One flat record for each trial, for CSV and Parquet."""
    records = []
    for entry in measurements:
        if entry.key not in points:
            continue
        point = points[entry.key]
        flat = {name: value for name, value in entry.figures.items() if not isinstance(value, (list, tuple))}
        records.append(
            {
                "configuration": point.label,
                "key": entry.key,
                "repeat": entry.repeat,
                "concat_tried": entry.concat,
                "status": entry.status,
                "reason": entry.reason,
                "started": entry.started,
                "wall_s": entry.wall_s,
                **{
                    path: value if isinstance(value, (int, float, str)) else str(value)
                    for path, value in point.values.items()
                },
                **flat,
            }
        )
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {name: _one_type([record.get(name) for record in records]) for name in names}
    return [{name: columns[name][index] for name in names} for index in range(len(records))]


def _one_type(values: list[Any]) -> list[Any]:
    """A column as it is when its values are of one type, else as text: a parameter may be null, a number or a word."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 or kinds == {int, float}:
        return [float(v) if kinds == {int, float} and v is not None else v for v in values]
    return [value if value is None else str(value) for value in values]
