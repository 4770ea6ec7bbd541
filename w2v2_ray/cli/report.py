"""`w2v2-ray report`: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2v2_ray.cli.status import RunArgument


def report(
    run: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; default report.html in the run's folder, NAME-report.html for a URI."),
    ] = None,
) -> None:
    """Write one self-contained HTML page: curves, workers and failures over time, throughput, memory, cost."""
    from w2v2_ray.places.new_files import new_file
    from w2v2_ray.reporting.run_page import render_page
    from w2v2_ray.reporting.run_summary import read_run
    from w2v2_ray.run.view import look_at_run

    folder = look_at_run(run)
    records = read_run(folder)
    if out is None:
        out = folder.path / "report.html" if folder.store.is_here else Path(f"{records.name}-report.html")
    with new_file(out) as temporary:
        temporary.write_text(render_page(records), encoding="utf-8")
    typer.echo(str(out))
