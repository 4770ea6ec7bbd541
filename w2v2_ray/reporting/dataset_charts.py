"""The drawings of a dataset's page."""

from __future__ import annotations

from typing import Any

from w2v2_ray.data.inspection.histogram import Histogram
from w2v2_ray.data.inspection.report import DatasetReport, LengthBin
from w2v2_ray.reporting.dataset_lines import span_of
from w2v2_ray.reporting.drawing import BLUE, GREEN, HALF, ORANGE, PALE_BLUE, PURPLE, WIDE, Chart, drawn_axis


def dataset_charts(report: DatasetReport) -> dict[str, Chart]:
    """All drawings that there are figures for, by name; the wide one is `lengths`."""
    made = {"lengths": _lengths(report.lengths)}
    made["seconds"] = _histogram("seconds", "Durations in equal steps", "seconds", report.length_histogram, BLUE)
    if report.levels is not None:
        levels = report.levels.level_histogram
        made["levels"] = _histogram("levels", "Levels (RMS)", "dBFS", levels, GREEN)
    if report.contents is not None and report.contents.rates is not None:
        rates = report.contents.rates
        made["rates"] = _histogram("rates", "Characters a second", "characters a second", rates, PURPLE)
    return made


def _lengths(lengths: tuple[LengthBin, ...]) -> Chart:
    """Two bars a range: what many short utterances are, and what they amount to."""
    with drawn_axis("lengths", WIDE) as (axis, svg):
        places = range(len(lengths))
        utterances = axis.bar(
            [place - 0.2 for place in places], [entry.utterances for entry in lengths], 0.38, color=PALE_BLUE
        )
        axis.set_ylabel("utterances")
        axis.set_xticks(list(places), [span_of(entry) for entry in lengths])
        axis.set_xlabel("seconds")
        axis.yaxis.get_major_locator().set_params(integer=True)
        other = _second(axis)
        hours = other.bar([place + 0.2 for place in places], [entry.hours for entry in lengths], 0.38, color=ORANGE)
        other.set_ylabel("hours")
        axis.legend([utterances, hours], ["utterances", "hours"], ncols=2, loc="upper right")
        return "Durations", svg()


def _second(axis: Any) -> Any:
    """Another scale, on the right."""
    other = axis.twinx()
    other.spines[["top", "right", "left"]].set_visible(False)
    other.tick_params(length=0)
    other.grid(visible=False)
    return other


def _histogram(name: str, title: str, unit: str, found: Histogram, colour: str) -> Chart:
    with drawn_axis(name, HALF) as (axis, svg):
        axis.stairs(found.counts, found.edges, fill=True, color=colour, alpha=0.75)
        axis.set_ylim(bottom=0)
        axis.set_ylabel("utterances")
        axis.yaxis.get_major_locator().set_params(integer=True)
        outside = [
            f"{count:,} {where}" for count, where in ((found.below, "further left"), (found.above, "further right"))
            if count
        ]  # fmt: skip
        axis.set_xlabel(f"{unit}   ({', '.join(outside)})" if outside else unit)
        return title, svg()
