"""What a sweep found: tables, pictures, all trials as CSV and Parquet, and the winning job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from w2v2_ray.errors import StorageError
from w2v2_ray.places.durable import write_text
from w2v2_ray.spec.kinds import parse_job
from w2v2_ray.spec.loading import dump_job
from w2v2_ray.spec.sweep import SweepSpec
from w2v2_ray.tune.document import Code, Heading, Image, Part, Table, Text, as_html, as_markdown
from w2v2_ray.tune.folder import SweepFolder
from w2v2_ray.tune.measurement import WORDS, Measurement
from w2v2_ray.tune.plots import plot_bars, plot_curves, plot_pareto
from w2v2_ray.tune.quality import Comparison, compare, read_curve
from w2v2_ray.tune.results import Row, summarise, trial_records, winner
from w2v2_ray.tune.tables import concat_table, quality_table, rejected_table, throughput_table

BEST = "best.yaml"


@dataclass(frozen=True)
class SweepReport:
    """A report that was written.

    Attributes:
        folder: The sweep's.
        table: The main table.
        best: Label of the winning configuration, None when there is none.
        best_spec: Its job spec.
        files: Everything that was written, the pages first.
    """

    folder: SweepFolder
    table: Table
    best: str | None
    best_spec: Path | None
    files: tuple[Path, ...]


def write_report(sweep: SweepSpec, folder: SweepFolder) -> SweepReport:
    """Write what the measurements of a sweep say so far; works while it runs, and without Ray.

    Raises:
        StorageError: Nothing was measured yet.
    """
    measurements = list(folder.measurements)
    points = folder.points()
    if not measurements:
        raise StorageError(f"{folder.path}: nothing was measured yet")
    baseline = folder.baseline()
    comparison = _comparison(folder, measurements) if sweep.mode == "quality" else None
    losses = comparison.losses() if comparison is not None else None
    rows = summarise(points, measurements, baseline, loss=losses)
    files = _write_trials(folder, trial_records(points, measurements))
    if sweep.mode == "find_concat":
        table, best = concat_table(points, measurements), None
    else:
        table = throughput_table(rows) if comparison is None else quality_table(rows, comparison)
        best = winner(rows, losses)
    best_spec = _write_best(sweep, folder, best) if best is not None else None
    images = _images(sweep, folder, rows, measurements, comparison)
    parts = _parts(sweep, folder, rows, measurements, table, best, images, comparison)
    write_text(folder.path / "report.md", as_markdown(parts))
    write_text(folder.path / "report.html", as_html(f"Sweep {sweep.name}", parts))
    pages = (folder.path / "report.html", folder.path / "report.md")
    pictures = tuple(image.path for image in images)
    written = (*pages, *([best_spec] if best_spec else []), *pictures, *files)
    return SweepReport(folder, table, best.label if best is not None else None, best_spec, written)


def _comparison(folder: SweepFolder, measurements: Sequence[Measurement]) -> Comparison:
    return compare([(entry, read_curve(folder, entry)) for entry in measurements])


def _write_trials(folder: SweepFolder, records: list[dict[str, Any]]) -> tuple[Path, ...]:
    table = pa.Table.from_pylist(records)
    csv, parquet = folder.path / "trials.csv", folder.path / "trials.parquet"
    for path, write in ((csv, pyarrow.csv.write_csv), (parquet, pyarrow.parquet.write_table)):
        temporary = path.with_name(f".{path.name}")
        write(table, temporary)
        temporary.replace(path)
    return csv, parquet


def _write_best(sweep: SweepSpec, folder: SweepFolder, best: Row) -> Path:
    """The winning job as it would be trained, under a name of its own so that it resumes no other run."""
    job = parse_job({**best.point.job, "name": f"{sweep.name[:120]}_best"})
    path = folder.path / BEST
    comment = f"# The winner of the sweep {sweep.name}: {best.label}. Train it: w2v2-ray train {BEST}\n"
    write_text(path, comment + dump_job(job))
    return path


def _images(
    sweep: SweepSpec,
    folder: SweepFolder,
    rows: Sequence[Row],
    measurements: Sequence[Measurement],
    comparison: Comparison | None,
) -> list[Image]:
    images: list[Image] = []
    if sweep.mode == "find_concat":
        return images
    bars = plot_bars(rows, folder.path / "bars.png", sweep.name)
    if bars is not None:
        images.append(Image(bars, "Speed-up and memory of each configuration; whiskers are the least and the most."))
    pareto = plot_pareto(rows, folder.path / "pareto.png", f"{sweep.name}: throughput against memory")
    if pareto is not None:
        images.append(Image(pareto, "Throughput against memory; what is grey is beaten in both by something red."))
    if comparison is not None:
        labels = {row.point.key: row.label for row in rows}
        curves = {
            labels[entry.key] + (f" #{entry.repeat + 1}" if sweep.repeats > 1 else ""): read_curve(folder, entry)
            for entry in measurements
            if entry.key in labels
        }
        curve = plot_curves(curves, folder.path / "curves.png", f"{sweep.name}: loss")
        if curve is not None:
            images.append(Image(curve, "Loss of each configuration over updates and over training time."))
    return images


def _parts(
    sweep: SweepSpec,
    folder: SweepFolder,
    rows: Sequence[Row],
    measurements: Sequence[Measurement],
    table: Table,
    best: Row | None,
    images: Sequence[Image],
    comparison: Comparison | None,
) -> list[Part]:
    parts: list[Part] = [Heading(f"Sweep {sweep.name}", 1), Text(_what(sweep, rows, measurements))]
    if best is not None:
        parts += [
            Text(f"**Best: {best.label}.** {_why(best, comparison)}"),
            Code(f"w2v2-ray train {folder.path / BEST}"),
        ]
    parts += [Heading("Configurations"), table, Text(_reading(sweep, rows, comparison))]
    front = [row.label for row in rows if row.on_front]
    if sweep.mode != "find_concat" and front:
        what = "throughput, memory and loss" if comparison is not None else "throughput and memory"
        parts += [Heading("Pareto front"), Text(f"Not beaten in {what} together: {'; '.join(front)}.")]
    parts += images
    failed = [entry for entry in measurements if not entry.ok and entry.concat is None]
    if failed:
        labels = {key: point.label for key, point in folder.points().items()}
        lines = [(labels[f.key], str(f.repeat + 1), WORDS[f.status], f.reason or "") for f in failed]
        parts += [Heading("Trials without figures"), Table(("configuration", "trial", "what", "reason"), lines)]
    rejected = folder.read_rejected()
    if rejected:
        parts += [
            Heading("Points that no trial was spent on"),
            Text("The job schema refuses them."),
            rejected_table(rejected),
        ]
    parts += [
        Heading("Files"),
        Text(
            "`trials.csv` and `trials.parquet` hold every trial; `measurements/` the same as JSON; `logs/` what each "
            "printed; `tune/` the TensorBoard files of Ray Tune (`tensorboard --logdir tune`)."
        ),
    ]
    return parts


def _what(sweep: SweepSpec, rows: Sequence[Row], measurements: Sequence[Measurement]) -> str:
    count, ok = len(measurements), sum(entry.ok for entry in measurements)
    first = next((row.measured[0].figures for row in rows if row.measured), {})
    if not first:
        first = next((entry.figures for entry in measurements if entry.ok), {})
    where = ", ".join(str(first[name]) for name in ("device",) if name in first)
    threads = f", {first['threads']} threads" if "threads" in first and "CPU" in where else ""
    audio = f" on {first['audio']}" if "audio" in first else ""
    text = f"Mode `{sweep.mode}`: {count} trials of {len({m.key for m in measurements})} configurations"
    text += f" on {where}{threads}" if where else ""
    text += f"; {ok} gave figures." if ok < count else "."
    if sweep.mode == "throughput":
        timing = sweep.throughput
        text += (
            f" Each trial is a fresh process: {timing.warmup_updates} updates to warm up, {timing.timed_updates} timed"
            f"{audio}; trials of all configurations take turns."
        )
    return text


def _why(best: Row, comparison: Comparison | None) -> str:
    if comparison is not None:
        loss = comparison.trained[best.point.key].loss_at_time
        return f"Lowest loss after equal time ({loss:.3f} after {comparison.seconds:.0f} s of training)."
    if best.is_baseline or best.speed_up is None or best.memory_percent is None:
        return "The fastest that ran: nothing beats the baseline."
    return f"{best.speed_up.median:.2f}x the baseline's speed with {best.memory_percent.median:.0f} % of its memory."


def _reading(sweep: SweepSpec, rows: Sequence[Row], comparison: Comparison | None) -> str:
    if sweep.mode == "find_concat":
        return (
            "Tried by bisection, one micro-batch in a fresh process each: what is larger than one that does not fit is "
            "taken not to fit either."
        )
    text = (
        "Medians, in brackets the least and the most of the repeats. The speed-up divides each measurement by the "
        "baseline's nearest in time."
    )
    if comparison is not None:
        text = (
            f"Loss at update {comparison.updates} and after {comparison.seconds:.0f} s of training, which all finished "
            "configurations reached; what the scheduler stopped before has none. " + text
        )
    if any(row.activation_percent is not None for row in rows):
        text += (
            " Memory is the most that tensors held at once; `without state` leaves out "
            "weights, gradients and optimizer state, which no Hourglass factor changes and which weigh less the larger "
            "the batch is."
        )
    if any(row.published for row in rows):
        text += " Published: Base pre-training on one A100 80GB, bf16."
    return text
