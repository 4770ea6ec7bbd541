"""The tables of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from w2v2_ray.reporting.spread import Spread
from w2v2_ray.tune.document import Table
from w2v2_ray.tune.folder import KeptPoint
from w2v2_ray.tune.measurement import WORDS, Measurement
from w2v2_ray.tune.points import Rejected
from w2v2_ray.tune.quality import Comparison
from w2v2_ray.tune.results import Row

_GIB = 2**30


def throughput_table(rows: Sequence[Row]) -> Table:
    """The published form: configuration, speed-up, memory in per cent; the published figures beside them."""
    published = any(row.published for row in rows)
    activations = any(row.activation_percent is not None for row in rows)
    cpu = any(row.cpu_speed_up is not None for row in rows)
    masked = any(row.masked_frames_per_s is not None for row in rows)
    header = ["configuration", "speed-up", "memory %"]
    header += ["speed-up in CPU time"] if cpu else []
    header += ["published speed-up", "published memory %"] if published else []
    header += ["memory % without state"] if activations else []
    header += ["memory, GiB", "frames/s"]
    header += ["masked frames/s"] if masked else []
    lines = []
    for row in rows:
        line = [_name(row), _spread(row.speed_up, 2, "x") or _failure(row), _spread(row.memory_percent, 1)]
        if cpu:
            line.append(_spread(row.cpu_speed_up, 2, "x"))
        if published:
            known = row.published
            line += [f"{known.speed_up:.2f}x", f"{known.memory_percent:.2f}"] if known else ["", ""]
        if activations:
            line.append(f"{row.activation_percent:.1f}" if row.activation_percent is not None else "")
        line += [f"{row.memory_bytes.median / _GIB:.2f}" if row.memory_bytes else "", _spread(row.frames_per_s, None)]
        if masked:
            line.append(_number(row.masked_frames_per_s.median) if row.masked_frames_per_s else "")
        lines.append(line)
    return Table(header, lines)


def quality_table(rows: Sequence[Row], comparison: Comparison) -> Table:
    """What was learned at equal updates and after equal time, beside what it cost."""
    header = [
        "configuration",
        f"loss at {comparison.updates} updates",
        f"loss after {comparison.seconds:.0f} s",
        f"accuracy after {comparison.seconds:.0f} s",
        "updates",
        "frames/s",
        "memory, GiB",
        "end",
    ]
    lines = []
    for row in rows:
        trained = comparison.trained.get(row.point.key)
        if trained is None:
            lines.append([_name(row), *[""] * 6, _failure(row)])
            continue
        lines.append(
            [
                _name(row),
                _fixed(trained.loss_at_updates),
                _fixed(trained.loss_at_time),
                _fixed(trained.accuracy_at_time),
                str(trained.updates),
                _spread(row.frames_per_s, None),
                f"{row.memory_bytes.median / _GIB:.2f}" if row.memory_bytes else "",
                "budget spent" if trained.finished else "stopped by ASHA",
            ]
        )
    return Table(header, lines)


def concat_table(points: Mapping[str, KeptPoint], measurements: Sequence[Measurement]) -> Table:
    """The largest `batch.concat` that fits, and the smallest that did not."""
    lines = []
    for key, point in points.items():
        tried = sorted((m for m in measurements if m.key == key and m.concat is not None), key=lambda m: m.concat or 0)
        if not tried:
            continue
        fit, not_fit = [m for m in tried if m.ok], [m for m in tried if not m.ok]
        best = fit[-1] if fit else None
        refused = f"{not_fit[0].concat}: {WORDS[not_fit[0].status]}" if not_fit else "none"
        lines.append(
            [
                point.label,
                str(best.concat) if best else "none",
                f"{best.figures['peak_memory_bytes'] / _GIB:.2f}" if best else "",
                _number(best.figures["frames_per_s"]) if best else "",
                refused,
                ", ".join(f"{m.concat}{'' if m.ok else ' (no)'}" for m in tried),
            ]
        )
    header = ("configuration", "largest concat", "memory, GiB", "frames/s there", "smallest that does not fit", "tried")
    return Table(header, lines)


def rejected_table(rejected: Sequence[Rejected]) -> Table:
    """Refused points, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for entry in rejected:
        by_reason.setdefault(entry.reason, []).append(entry.label)
    return Table(("configurations", "reason"), [["; ".join(labels), reason] for reason, labels in by_reason.items()])


def _name(row: Row) -> str:
    return f"{row.label} (baseline)" if row.is_baseline else row.label


def _failure(row: Row) -> str:
    return WORDS[row.failure.status] if row.failure is not None else ""


def _spread(spread: Spread | None, digits: int | None, unit: str = "") -> str:
    """Median, and in brackets the least and the most where there are several."""
    if spread is None:
        return ""

    def text(value: float) -> str:
        return _number(value) if digits is None else f"{value:.{digits}f}"

    several = spread.count > 1 and spread.low != spread.high
    return f"{text(spread.median)}{unit}" + (f" ({text(spread.low)}..{text(spread.high)})" if several else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _fixed(value: float | None) -> str:
    return f"{value:.3f}" if value is not None else ""
