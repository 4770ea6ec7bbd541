"""`w2v2-ray tune`: measure or train the points of a sweep and say which is worth it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2v2_ray.cli.options import SetOption

if TYPE_CHECKING:
    from w2v2_ray.tune.document import Table
    from w2v2_ray.tune.points import Points
    from w2v2_ray.tune.report import SweepReport
    from w2v2_ray.tune.runner import Finished


def tune(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="Sweep spec, a YAML file.", show_default=False)],
    overrides: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the points, run nothing.")] = False,
    report_only: Annotated[
        bool, typer.Option("--report", help="Write the report of what was measured so far, run nothing.")
    ] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard/--no-dashboard", help="Start Ray's dashboard where Ray is started here.")
    ] = True,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join; without it (and RAY_ADDRESS) one is started here.")
    ] = None,
) -> None:
    """Measure the configurations of a sweep and report; the same command resumes a sweep that was stopped or killed."""
    from functools import partial

    from w2v2_ray.api import jobs
    from w2v2_ray.cli.output import print_warnings
    from w2v2_ray.tune.points import expand

    loaded = jobs.load_sweep(sweep, overrides or ())
    print_warnings(loaded.warnings)
    if not report_only:
        show_points(expand(loaded))
        if dry_run:
            return
    report = jobs.tune(
        loaded,
        address=address,
        dashboard=dashboard,
        measure=not report_only,
        notify=partial(typer.echo, err=True),
        on_trial=_show_trial,
    )
    _show_report(report)


def show_points(points: Points) -> None:
    """What a sweep visits, and what it leaves out and why."""
    typer.echo(f"{len(points.points)} points, compared with: {points.baseline.label}", err=True)
    for point in points.points:
        typer.echo(f"  {point.label}", err=True)
    by_reason: dict[str, list[str]] = {}
    for entry in points.rejected:
        by_reason.setdefault(entry.reason, []).append(entry.label)
    if by_reason:
        typer.echo(f"{len(points.rejected)} points left out, because the job schema refuses them:", err=True)
    for reason, labels in by_reason.items():
        typer.echo(f"  {'; '.join(labels)}\n    {reason}", err=True)


def _show_trial(finished: Finished) -> None:
    from w2v2_ray.cli.output import readable_bytes, readable_count

    result: dict[str, Any] = finished.result
    if result.get("status") == "ok" and "frames_per_s" in result:
        memory = readable_bytes(int(result.get("peak_memory_bytes", 0)))
        outcome = f"{readable_count(result['frames_per_s'])} frames/s, {memory}"
        if "largest_concat" in result:
            outcome = f"largest concat {result['largest_concat']}: {outcome}"
        elif result.get("update"):
            outcome = f"loss {result['loss']:.3f} at update {result['update']}, {outcome}"
    else:
        outcome = f"{result.get('status', 'failed')}: {result.get('reason', '')}"
    typer.echo(f"trial {finished.number}/{finished.total}  {finished.configuration}: {outcome}", err=True)


def _show_report(report: SweepReport) -> None:
    from rich.console import Console

    table = report.table
    widths = [max(map(len, column)) for column in zip(table.header, *table.rows, strict=True)]
    # In a file or a narrow window the columns stay whole, and lines become long instead.
    width = max(Console().width, sum(widths) + 3 * len(widths))
    Console(highlight=False, markup=False, width=width).print(_rich_table(table))
    if report.best is not None:
        typer.echo(f"best: {report.best}")
        typer.echo(f"train it: w2v2-ray train {report.best_spec}")
    typer.echo(f"report: {report.files[0]}")
    typer.echo(f"files:  {', '.join(path.name for path in report.files[1:])} in {report.folder.path}")


def _rich_table(table: Table) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table as RichTable

    shown = RichTable(box=SIMPLE, padding=(0, 1, 0, 0))
    for index, name in enumerate(table.header):
        shown.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*row)
    return shown
