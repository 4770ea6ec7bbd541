"""`w2v2-ray inspect`: what is in a dataset or a checkpoint, and is it whole?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from w2v2_ray.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from w2v2_ray.data.inspection.report import DatasetReport

_BAR_WIDTH = 40


def inspect_command(
    path: Annotated[
        str, typer.Argument(help="Dataset made by `prepare` (a folder or a URI), or a checkpoint.", metavar="PATH")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")] = False,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Compare names and sizes only; read no audio for checksums and levels."),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Also write one self-contained HTML page about a dataset.", metavar="PAGE.html"),
    ] = None,
) -> None:
    """Verify a dataset's or checkpoint's checksums and show what it holds.

    Of a dataset hours, utterances, speakers, lengths, level, clipping, silence, codec and fingerprint; of a checkpoint
    update, parameters and files. A truncated, altered or missing file is named, and the exit code is then 2.
    --html writes a page as well, with histograms, speakers, scripts, words, copies, suspicious texts, rejects and how
    the dataset was made; with --fast it has only what needs no audio.
    """
    from w2v2_ray.cli.inspect_checkpoint import checkpoint_report, is_checkpoint, print_checkpoint

    if is_checkpoint(path):
        if html is not None:
            raise UserError(f"{path}: is a checkpoint; --html writes pages of datasets, use --json for checkpoints")
        contents = checkpoint_report(path, fast=fast)
        if as_json:
            import json

            print(json.dumps(contents, indent=1))
        else:
            print_checkpoint(contents)
        return
    from w2v2_ray.api.datasets import inspect

    report = inspect(path, fast=fast, html=html)
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps(asdict(report), indent=1))
        return
    print_dataset(report)
    if html is not None:
        typer.echo(str(html))


def print_dataset(report: DatasetReport) -> None:
    """Show a report on the terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from w2v2_ray.reporting.dataset_lines import figure_lines

    console = Console()
    figures = Table.grid(padding=(0, 2))
    for name, value in figure_lines(report):
        figures.add_row(f"[bold]{name}[/]", escape(value))
    console.print(figures, highlight=False, soft_wrap=True)
    console.print(_histogram(report), highlight=False)


def _histogram(report: DatasetReport) -> Table:
    from rich.table import Table

    from w2v2_ray.reporting.dataset_lines import span_of

    table = Table(title="lengths", box=None, title_justify="left", title_style="bold")
    table.add_column("seconds", justify="right")
    table.add_column("utterances", justify="right")
    table.add_column("hours", justify="right")
    table.add_column("")
    most = max(entry.utterances for entry in report.lengths)
    for entry in report.lengths:
        bar = "█" * round(_BAR_WIDTH * entry.utterances / most)
        table.add_row(
            span_of(entry), f"{entry.utterances:,}", f"{entry.hours:.2f}", bar or ("▏" if entry.utterances else "")
        )
    return table
