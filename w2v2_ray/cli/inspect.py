"""`w2v2-ray inspect`: what is in a dataset or a checkpoint, and is it whole?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from w2v2_ray.data.report import DatasetReport

_BAR_WIDTH = 40
_SYMBOLS = 60


def inspect_command(
    path: Annotated[
        str, typer.Argument(help="Dataset made by `prepare` (a folder or a URI), or a checkpoint.", metavar="PATH")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")] = False,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Compare names and sizes only; read no audio for checksums and levels."),
    ] = False,
) -> None:
    """Verify a dataset's or checkpoint's checksums and show what it holds.

    Of a dataset hours, utterances, speakers, lengths, level, clipping, silence, codec and fingerprint; of a checkpoint
    update, parameters and files. A truncated, altered or missing file is named, and the exit code is then 2.
    """
    from w2v2_ray.cli.inspect_checkpoint import checkpoint_report, is_checkpoint, print_checkpoint

    if is_checkpoint(path):
        contents = checkpoint_report(path, fast=fast)
        if as_json:
            import json

            print(json.dumps(contents, indent=1))
        else:
            print_checkpoint(contents)
        return
    report = inspect_dataset(path, fast=fast)
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps(asdict(report), indent=1))
        return
    print_dataset(report)


def inspect_dataset(path: str, *, fast: bool) -> DatasetReport:
    """Open a dataset with the checks asked for, and gather its figures."""
    from w2v2_ray.data.dataset import SpeechDataset
    from w2v2_ray.data.report import dataset_report

    dataset = SpeechDataset.open(path, verify="sizes" if fast else "checksums")
    return dataset_report(dataset, checksums_verified=not fast, levels=not fast)


def print_dataset(report: DatasetReport) -> None:
    """Show a report on the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    figures = Table.grid(padding=(0, 2))
    verified = "checksums verified" if report.checksums_verified else "names and sizes verified (--fast)"
    for name, value in (
        ("dataset", report.path),
        ("hours", f"{report.hours:.3f}"),
        ("utterances", f"{report.utterances:,} ({report.transcribed:,} with a transcript)"),
        ("speakers", f"{report.speakers:,}"),
        (
            "lengths",
            f"{report.shortest_s:.2f} to {report.longest_s:.2f} s, median {report.median_s:.2f} s, "
            f"90 % within {report.p5_s:.2f} to {report.p95_s:.2f} s",
        ),
        *_levels(report),
        *_contents(report),
        ("rejected", f"{report.rejected:,} at ingest"),
        ("kept but odd", ", ".join(f"{note} {count:,}" for note, count in report.odd.items()) or "none noted"),
        ("codec", f"{report.codec}, {report.sample_rate} Hz mono"),
        ("shards", f"{report.shards:,}, {report.bytes / 2**20:,.1f} MiB, {verified}"),
        ("fingerprint", report.fingerprint),
        ("created by", report.created_by),
    ):
        figures.add_row(f"[bold]{name}[/]", value)
    console.print(figures, highlight=False, soft_wrap=True)
    console.print(_histogram(report), highlight=False)


def _levels(report: DatasetReport) -> list[tuple[str, str]]:
    """Lines about the signal."""
    from w2v2_ray.data.levels import SILENCE_DBFS

    levels = report.levels
    if levels is None:
        return [("level", "not read (--fast)")]
    level, peak = levels.level_dbfs, levels.peak_dbfs
    return [
        (
            "level",
            f"{level.lowest:.1f} to {level.highest:.1f} dBFS, median {level.median:.1f}, "
            f"90 % within {level.p5:.1f} to {level.p95:.1f}",
        ),
        ("peak", f"{peak.lowest:.1f} to {peak.highest:.1f} dBFS, median {peak.median:.1f}"),
        ("clipped", f"{levels.clipped_fraction:.4%} of samples, in {levels.clipped_utterances:,} utterances"),
        (
            "silence",
            f"{levels.silence_fraction:.1%} below {SILENCE_DBFS:g} dBFS; {levels.silent_utterances:,} utterances "
            "are silent",
        ),
    ]


def _contents(report: DatasetReport) -> list[tuple[str, str]]:
    """Lines about what is said, and what is there twice."""
    from rich.markup import escape

    found = report.contents
    if found is None:
        return []
    lines = [("audio alone", found.audio_fingerprint)]
    if found.copies:
        lines.append(
            ("copies", f"{found.copies:,} have the samples of another: {escape(', '.join(found.copy_examples))}")
        )
    if found.characters_per_s is not None:
        rate = found.characters_per_s
        shown = " ".join("space" if symbol == " " else escape(symbol) for symbol in list(found.symbols)[:_SYMBOLS])
        more = f" and {len(found.symbols) - _SYMBOLS} more" if len(found.symbols) > _SYMBOLS else ""
        lines.append(("symbols", f"{len(found.symbols)}: {shown}{more}"))
        lines.append(("spoken", f"{rate.p5:.1f} to {rate.p95:.1f} characters/s in 90 %, median {rate.median:.1f}"))
    if found.too_fast or found.too_slow:
        lines.append(
            (
                "suspicious",
                f"{found.too_fast:,} texts too long for their audio, {found.too_slow:,} too short: "
                f"{escape(', '.join(found.misfit_examples))}",
            )
        )
    return lines


def _histogram(report: DatasetReport) -> Table:
    from rich.table import Table

    table = Table(title="lengths", box=None, title_justify="left", title_style="bold")
    table.add_column("seconds", justify="right")
    table.add_column("utterances", justify="right")
    table.add_column("hours", justify="right")
    table.add_column("")
    most = max(entry.utterances for entry in report.lengths)
    for entry in report.lengths:
        span = f"{entry.from_s:g} - {entry.to_s:g}" if entry.to_s is not None else f"{entry.from_s:g} -"
        bar = "█" * round(_BAR_WIDTH * entry.utterances / most)
        table.add_row(span, f"{entry.utterances:,}", f"{entry.hours:.2f}", bar or ("▏" if entry.utterances else ""))
    return table
