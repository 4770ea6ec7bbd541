"""Which cells the benchmarks of data have, and how their tables read."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from w2v2_ray.bench.audio_files import copy_files, prepare, synthesise
from w2v2_ray.bench.machine import describe_machine
from w2v2_ray.bench.report import BenchReport, Column, Ratio
from w2v2_ray.bench.rounds import Cell, run_rounds
from w2v2_ray.bench.suites import Effort
from w2v2_ray.data.schema import Codec

_CODECS: tuple[Codec, ...] = ("pcm16", "flac")
_GB = 1e-9


def write_corpus(
    source: Path | None, work: Path, copies: int, suffixes: Sequence[str], hours: float
) -> dict[str, Path]:
    """Write what the benchmarks read: folders of one file an utterance.

    Args:
        source: What to copy; None synthesises speech.
        work: Where to.
        copies: How often each utterance occurs.
        suffixes: Formats of the files.
        hours: To synthesise.

    Returns:
        The folder of each suffix.

    Raises:
        UserError: The source is unusable, or espeak-ng is missing.
    """
    if source is None:
        source = synthesise(work / "speech", hours)
    folders = {suffix: work / f"files{suffix}" for suffix in suffixes}
    for suffix, folder in folders.items():
        copy_files(source, folder, copies, suffix)
    return folders


def loader_report(
    *, folders: dict[str, Path], work: Path, cold: bool, common: dict[str, Any], effort: Effort
) -> BenchReport:
    """Measure how fast micro-batches come from shards and from files.

    Args:
        folders: One file an utterance, by suffix: ".wav", ".flac".
        work: Where datasets are made of them.
        cold: Also with files that are not in the page cache.
        common: `workers`, `min_s`, `max_tokens`.
        effort: Rounds.
    """
    machine = describe_machine()
    datasets: dict[str, Path] = {}
    for codec in _CODECS:
        datasets[codec] = work / f"dataset-{codec}"
        hours = prepare(folders[".wav"], datasets[codec], codec)
        effort.notify(f"prepared {hours:.2f} h as {codec}")
    cells = []
    for pages in ["warm", "cold"] if cold else ["warm"]:
        given = {**common, "cold": pages == "cold"}
        for codec in _CODECS:
            places = {"dataset": str(datasets[codec]), "files": str(folders[".wav"])}
            cells.append(_loader_cell(pages, f"shards, {codec}", {**given, **places, "reader": "shards"}))
        for suffix, folder in folders.items():
            places = {"dataset": str(datasets["pcm16"]), "files": str(folder)}
            cells.append(_loader_cell(pages, f"files, {suffix[1:]}", {**given, **places, "reader": "files"}))
    results = run_rounds(cells, effort.repeats, effort.notify)
    columns = [
        Column("hours/s", "hours_per_s", digits=3),
        Column("hours/CPU s", "hours_per_cpu_s", digits=3),
        Column("peak RSS GB", "peak_rss_bytes", _GB),
        Column("load", "load_average", digits=1),
    ]
    ratios = []
    for suffix in folders:
        peer = {"reader": f"files, {suffix[1:]}"}
        ratios.append(Ratio(f"speed / {suffix[1:]} files", "hours_per_s", peer))
        ratios.append(Ratio(f"per CPU s / {suffix[1:]} files", "hours_per_cpu_s", peer))
    return BenchReport("loader", effort.command, machine, results, columns, ratios, effort.notes)


def ingest_report(*, folders: dict[str, Path], work: Path, effort: Effort) -> BenchReport:
    """Measure `prepare` beside decoding alone.

    Args:
        folders: One file an utterance, by suffix.
        work: For the datasets, which are removed.
        effort: Rounds.
    """
    machine = describe_machine()
    cells = []
    peers, notes = _ingest_peers(effort)
    ways = [*((codec, f"prepare, {codec}") for codec in _CODECS), *peers]
    for suffix, folder in folders.items():
        for how, doing in ways:
            settings = {"how": how, "files": str(folder), "work": str(work)}
            cells.append(Cell({"files": suffix[1:], "what": doing}, "w2v2_ray.bench.ingest:measure", settings))
    results = run_rounds(cells, effort.repeats, effort.notify)
    columns = [
        Column("hours/core-minute", "hours_per_core_minute", digits=1),
        Column("hours/minute", "hours_per_minute", digits=1),
        Column("peak RSS GB", "peak_rss_bytes", _GB),
        Column("load", "load_average", digits=1),
    ]
    ratios = [
        Ratio(f"per core-minute / {how}", "hours_per_core_minute", {"what": doing}) for how, doing in reversed(peers)
    ]
    return BenchReport("ingest", effort.command, machine, results, columns, ratios, [*effort.notes, *notes])


def planning_report(*, utterances: int, max_tokens: int, work: Path, effort: Effort) -> BenchReport:
    """Measure planning and opening a dataset of millions of utterances.

    Args:
        utterances: How many; synthetic lengths.
        max_tokens: Samples of a sub-batch.
        work: For index and manifest, which are removed.
        effort: Rounds.
    """
    machine = describe_machine()
    common = {"utterances": utterances, "max_tokens": max_tokens, "work": str(work)}
    cells = [
        Cell({"what": what}, f"w2v2_ray.bench.planning:{measure}", common)
        for what, measure in (("batch plan", "measure_plan"), ("opening", "measure_opening"))
    ]
    results = run_rounds(cells, effort.repeats, effort.notify)
    columns = [
        Column("hours", "hours", digits=0),
        Column("construction s", "construct_s"),
        Column("first micro-batch s", "first_s"),
        Column("100 more s", "more_s"),
        Column("next epoch s", "epoch_s"),
        Column("open s", "open_s"),
        Column("check index s", "check_s"),
        Column("peak RSS GB", "peak_rss_bytes", _GB),
        Column("load", "load_average", digits=1),
    ]
    return BenchReport("planning", effort.command, machine, results, columns, (), effort.notes)


def _ingest_peers(effort: Effort) -> tuple[list[tuple[str, str]], list[str]]:
    """How others ingest and what that is called; a note if one of them is not here."""
    peers = [("soundfile", "soundfile alone")]
    if find_spec("datasets") is not None:
        return [*peers, ("datasets", "datasets, int16")], []
    note = "Hugging Face datasets is not installed and so not measured: pip install 'datasets[audio]<4'"
    effort.notify(note)
    return peers, [note]


def _loader_cell(pages: str, reader: str, settings: dict[str, Any]) -> Cell:
    return Cell({"pages": pages, "reader": reader}, "w2v2_ray.bench.loader:measure", settings)
