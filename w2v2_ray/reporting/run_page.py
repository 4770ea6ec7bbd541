"""A run as one self-contained HTML page: nothing is loaded from elsewhere, so it can be mailed or archived."""

from __future__ import annotations

import json
from typing import Any

from w2v2_ray.reporting.page import as_markup, made_at, render
from w2v2_ray.reporting.run_charts import charts
from w2v2_ray.reporting.run_summary import FAILURES, TROUBLE, RunRecords, RunSummary, summarise
from w2v2_ray.spec.loading import dump_job

_SHOWN = (
    *TROUBLE, "launch", "start", "resume", "recovered", "resize", "going_on", "joined", "node_drained", "left", "end",
    "validation", "utterances",
)  # fmt: skip
_MOST_EVENTS = 400


def render_page(records: RunRecords, now: float | None = None) -> str:
    """The page.

    Args:
        records: What the run wrote.
        now: Seconds since 1970; None asks the clock.
    """
    summary = summarise(records, now)
    made = as_markup(charts(records))
    return render(
        "report.html.j2",
        summary=summary,
        cards=_cards(summary),
        wide=[made[name] for name in ("loss", "timeline") if name in made],
        half=[made[name] for name in ("learned", "throughput", "steps", "memory") if name in made],
        events=_rows(records),
        left_out=max(0, len(records.named(*_SHOWN)) - _MOST_EVENTS),
        spec=dump_job(records.job) if records.job is not None else None,
        made_at=made_at(now),
    )


def _cards(summary: RunSummary) -> list[tuple[str, str, str]]:
    """Title, figure and what is to be said of it."""
    latest, cost = summary.latest, summary.cost
    of = f"of {summary.updates:,}" if summary.updates else ""
    left = f", {_span(summary.left_s)} left" if summary.left_s is not None else ""
    losses = f"{summary.loss:.4g}" if summary.loss is not None else "-"
    best = f"best held-out score {summary.best[0]:.4g} at {summary.best[1]:,}" if summary.best else "no validation"
    speed = f"{latest['audio_s_per_s']:,.0f}" if "audio_s_per_s" in latest else "-"
    pace = f"seconds of audio a second; {summary.update_s:.3g} s an update" if summary.update_s else ""
    trouble = sum(count for name, count in summary.failures.items() if name in FAILURES)
    return [
        ("Updates", f"{summary.update:,}", of + left),
        ("Loss", losses, best),
        ("Throughput", speed, pace),
        ("Workers", str(summary.workers or 0), f"{summary.resizes} resizes, {summary.launches} launches"),
        ("Failures", str(trouble), f"{summary.recomputed} updates computed twice{_paused(summary)}"),
        ("Cost", f"{cost.total_h:.2f} h", f"worker-hours; {cost.useful:.0%} on updates that count"),
        ("Elapsed", _span(summary.elapsed_s), "first launch to last sign of life"),
    ]


def _paused(summary: RunSummary) -> str:
    if not summary.paused_s:
        return ""
    return f"; the others went on {len(summary.paused_s)} times, pausing {sum(summary.paused_s):.3g} s in all"


def _rows(records: RunRecords) -> list[dict[str, Any]]:
    shown = records.named(*_SHOWN)[-_MOST_EVENTS:]
    start = float(records.events[0]["time"]) if records.events else 0.0
    return [
        {
            "at": _span(float(event["time"]) - start),
            "name": event["event"].replace("_", " "),
            "kind": "bad" if event["event"] in TROUBLE else "good" if event["event"] == "end" else "plain",
            "details": ", ".join(
                f"{name.replace('_', ' ')} {_value(value)}"
                for name, value in event.items()
                if name not in ("time", "event") and value not in (None, "")
            ),
        }
        for event in shown
    ]


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
