"""Pictures of a sweep: bars of speed-up and memory, throughput against memory, loss over time and updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from w2v2_ray.reporting.spread import Spread
from w2v2_ray.tune.results import Row

_OURS, _PUBLISHED, _FRONT, _REST = "#2b6cb0", "#d98324", "#c53030", "#9aa5b1"
_MOST_BARS = 24
_MOST_LABELS = 14
_GIB = 2**30


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def plot_bars(rows: Sequence[Row], out: Path, title: str) -> Path | None:
    """Speed-up and memory of every configuration, the published figures beside them; None without any."""
    plt = _pyplot()
    shown = [row for row in rows if row.speed_up is not None and row.memory_percent is not None]
    if len(shown) > _MOST_BARS:  # the fastest; the table has all
        shown = sorted(shown, key=lambda row: -(row.speed_up.median if row.speed_up else 0.0))[:_MOST_BARS]
    if not shown:
        return None
    height = 1.6 + 0.42 * len(shown)
    figure, axes = plt.subplots(1, 2, figsize=(11, height), sharey=True, constrained_layout=True)
    published = any(row.published for row in shown)
    width = 0.38 if published else 0.6
    for axis, name, mark in ((axes[0], "speed_up", "x"), (axes[1], "memory_percent", " %")):
        for place, row in enumerate(shown):
            spread: Spread = getattr(row, name)
            ours_at = place - (width / 2 if published else 0)
            errors = [[spread.median - spread.low], [spread.high - spread.median]]
            axis.barh(ours_at, spread.median, width, color=_OURS, label="measured" if place == 0 else None)
            axis.errorbar(spread.median, ours_at, xerr=errors, color="black", capsize=2, lw=1)
            digits = 2 if name == "speed_up" else 0
            axis.annotate(
                f" {spread.median:.{digits}f}{mark}",
                (spread.high, ours_at),
                va="center",
                fontsize=8,
                xytext=(3, 0),
                textcoords="offset points",
            )
            if row.published is not None:
                value = getattr(row.published, name)
                label = "published (Base, A100, bf16)" if place == 0 else None
                axis.barh(place + width / 2, value, width, color=_PUBLISHED, alpha=0.75, label=label)
        axis.margins(x=0.14)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_title("speed-up against the baseline")
    axes[1].set_title("peak memory, % of the baseline")
    axes[0].set_yticks(range(len(shown)), [row.label for row in shown])
    axes[0].invert_yaxis()
    if published:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title)
    return _save(figure, out)


def plot_pareto(rows: Sequence[Row], out: Path, title: str) -> Path | None:
    """Throughput against memory, the front drawn through; None without two configurations."""
    plt = _pyplot()
    shown = [row for row in rows if row.frames_per_s is not None and row.memory_bytes is not None]
    if len(shown) < 2:
        return None
    relative = all(row.speed_up is not None for row in shown)

    def place(row: Row) -> tuple[float, float]:
        spread = row.speed_up if relative else row.frames_per_s
        assert spread is not None
        assert row.memory_bytes is not None
        return row.memory_bytes.median / _GIB, spread.median

    figure, axis = plt.subplots(figsize=(9.5, 6), constrained_layout=True)
    front = sorted((row for row in shown if row.on_front), key=place)
    rest = [row for row in shown if not row.on_front]
    for group, colour, size, label in ((rest, _REST, 28, "beaten in both"), (front, _FRONT, 46, "Pareto front")):
        if group:
            axis.scatter(*zip(*map(place, group), strict=True), color=colour, s=size, label=label, zorder=3)
    axis.plot(*zip(*map(place, front), strict=True), color=_FRONT, lw=1, alpha=0.6, zorder=2)
    base = next((row for row in shown if row.is_baseline), None)
    if base is not None:
        axis.scatter(*place(base), marker="*", s=190, color="black", label=f"baseline ({base.label})", zorder=4)
    for number, row in enumerate(front[:_MOST_LABELS]):
        offset = (7, 9) if number % 2 == 0 else (7, -14)
        axis.annotate(row.label, place(row), xytext=offset, textcoords="offset points", fontsize=8)
    failed = [row for row in rows if row.failure is not None]
    note = f"; {len(failed)} without figures (see the table)" if failed else ""
    axis.set_xlabel(f"peak memory, GiB (left is better){note}")
    axis.set_ylabel("speed-up against the baseline (up is better)" if relative else "frames/s (up is better)")
    axis.margins(x=0.16, y=0.12)
    axis.grid(alpha=0.3)
    axis.legend(loc="best", fontsize=8)
    axis.set_title(title)
    return _save(figure, out)


def plot_curves(curves: Mapping[str, Sequence[Mapping[str, float]]], out: Path, title: str) -> Path | None:
    """Loss of every trained point over updates and over training time."""
    plt = _pyplot()
    if not any(curves.values()):
        return None
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), sharey=True, constrained_layout=True)
    for label, records in curves.items():
        for axis, name in ((axes[0], "update"), (axes[1], "trained_s")):
            axis.plot([r[name] for r in records], [r["loss"] for r in records], lw=1.2, label=label)
    axes[0].set_xlabel("update")
    axes[1].set_xlabel("seconds of training")
    axes[0].set_ylabel("loss")
    for axis in axes:
        axis.grid(alpha=0.3)
    if len(curves) <= _MOST_LABELS:
        axes[1].legend(fontsize=8)
    figure.suptitle(title)
    return _save(figure, out)


def _save(figure: Any, out: Path) -> Path:
    temporary = out.with_name(f".{out.name}")
    figure.savefig(temporary, dpi=110, format="png")
    temporary.replace(out)
    _pyplot().close(figure)
    return out
