"""`w2v2-ray status`: how a run is doing, in a few lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from w2v2_ray.cli.options import JsonOption

if TYPE_CHECKING:
    from w2v2_ray.reporting.run_summary import RunSummary

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder or URI, in progress or finished.", show_default=False)
]
_COLOURS = {
    "finished": "green",
    "training": "cyan",
    "starting": "yellow",
    "waiting": "yellow",
    "stopped": "yellow",
    "silent": "red",
    "failed": "red",
}


def status(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Show it again until the run ends.")] = False,
    every_s: Annotated[float, typer.Option(min=0.5, help="With --follow: time between two looks, seconds.")] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Show what a run has come to: progress, loss, speed, workers, failures, cost. Local or on an object store."""
    from dataclasses import asdict

    from rich.console import Console

    from w2v2_ray.cli.output import print_json
    from w2v2_ray.reporting.run_summary import read_run, summarise
    from w2v2_ray.run.view import look_at_run

    console = Console()
    while True:
        summary = summarise(read_run(look_at_run(run)))
        if as_json:
            print_json(asdict(summary))
        else:
            print_status(summary, console)
        if not follow or summary.state in ("finished", "failed", "stopped"):
            return
        time.sleep(every_s)


def print_status(summary: RunSummary, console: object) -> None:
    """Show a summary on the terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    assert isinstance(console, Console)
    table = Table.grid(padding=(0, 2))
    of = f" of {summary.updates:,}" if summary.updates else ""
    done = f" ({summary.update / summary.updates:.0%})" if summary.updates else ""
    colour = _COLOURS[summary.state]
    rows = [
        (summary.name, f"[{colour}]{summary.state}[/]  {summary.kind or ''}  {summary.place}"),
        ("progress", f"update {summary.update:,}{of}{done}{_left(summary)}"),
        ("learned", _learned(summary)),
        ("speed", _speed(summary)),
        (
            "workers",
            f"{summary.workers or 0} now; {summary.launches} launches, {summary.resizes} resizes{_paused(summary)}",
        ),
        ("trouble", ", ".join(f"{count} {name}" for name, count in summary.failures.items()) or "none"),
        ("cost", f"{summary.cost.total_h:.2f} worker-hours, {summary.cost.useful:.0%} of them on updates that count"),
        ("saved", _saved(summary)),
    ]
    if summary.start_failure is not None:
        rows.insert(-2, ("no start", f"workers could not be started last: {escape(summary.start_failure)}"))
    if summary.waiting is not None:
        rows.insert(1, ("waiting", escape(summary.waiting)))
    for name, value in rows:
        table.add_row(f"[bold]{name}[/]", value)
    console.print(table, highlight=False, soft_wrap=True)


def _left(summary: RunSummary) -> str:
    return f", {readable_s(summary.left_s)} left" if summary.left_s is not None else ""


def _learned(summary: RunSummary) -> str:
    if summary.loss is None:
        return "nothing yet"
    parts = [f"loss {summary.loss:.4g} (newest updates)"]
    if summary.validation is not None:
        wer = f", WER {summary.validation['wer']:.2%}" if "wer" in summary.validation else ""
        parts.append(
            f"held-out loss {summary.validation.get('loss', float('nan')):.4g}{wer} at {summary.validation['update']}"
        )
    if summary.best is not None:
        parts.append(f"best {summary.best[0]:.4g} at {summary.best[1]}")
    return "; ".join(parts)


def _speed(summary: RunSummary) -> str:
    if summary.update_s is None:
        return "unknown"
    latest = summary.latest
    waiting = f", {latest['data_wait_fraction']:.1%} of it waiting for data" if "data_wait_fraction" in latest else ""
    memory = f", {latest['peak_memory_bytes'] / 2**30:.2f} GiB a worker" if "peak_memory_bytes" in latest else ""
    return f"{summary.update_s:.3g} s an update{waiting}; {latest.get('audio_s_per_s', 0):.0f} s of audio/s{memory}"


def _paused(summary: RunSummary) -> str:
    if not summary.paused_s:
        return ""
    longest, times = max(summary.paused_s), len(summary.paused_s)
    return f"; the others went on {times} times, after {sum(summary.paused_s) / times:.2g} s ({longest:.2g} s at most)"


def _saved(summary: RunSummary) -> str:
    saved = summary.checkpoint
    if saved is None:
        return "nothing yet"
    again = f"; {summary.recomputed} updates were computed twice" if summary.recomputed else ""
    return f"{saved['event']} of update {saved['update']}, {readable_s(time.time() - saved['time'])} ago{again}"


def readable_s(seconds: float) -> str:
    """A time span in the unit that suits it."""
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
