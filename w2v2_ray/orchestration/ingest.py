"""Ingest driven over Ray tasks, or in this process for one job."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.corpora.keys import USUAL_KEYS, ChosenKeys
from w2v2_ray.data.ingestion.hold_out import Division, divide
from w2v2_ray.data.ingestion.ingest import (
    check_rejects,
    count_reasons,
    finalise,
    finished_as_asked,
    finished_dataset,
    forget_notes,
    ingest_folder,
    note_rejects,
    recorded_rejects,
    without_copies,
)
from w2v2_ray.data.ingestion.ingest_plan import (
    IngestSettings,
    ShardResult,
    ShardTask,
    asked_key,
    ingest_key,
    plan_shards,
)
from w2v2_ray.data.ingestion.remote_source import laid_out
from w2v2_ray.data.ingestion.sources import SourceFormat, SourceListing, read_source
from w2v2_ray.data.integrity import check_sizes
from w2v2_ray.data.schema import MANIFEST_NAME, DatasetManifest
from w2v2_ray.data.segmentation.recordings import (
    Recording,
    SegmentSettings,
    pieces_of,
    segment_recordings,
    shared_out,
)
from w2v2_ray.errors import DatasetError
from w2v2_ray.orchestration.shards import Counter, IngestProgress, write_shards
from w2v2_ray.orchestration.share import run_on_workers
from w2v2_ray.places.storage import Location, locate


@dataclass(frozen=True)
class HoldOut:
    """A part of the source that becomes a dataset of its own, to judge by.

    Args:
        share: Of the utterances, about; see `divide`.
        to: Folder or URI of its dataset.
        seed: Of the choice.
        by_speaker: Whether no speaker may be in both parts, where there are several.
    """

    share: float
    to: str | Path | Location
    seed: int = 0
    by_speaker: bool = True


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest gave.

    Args:
        manifest: The dataset's dataset.json.
        source_format: Format that was read.
        listed: Files listed in the source, of this part.
        rejected: How many were left out for each reason.
        was_finished: The dataset was here already, and nothing was done.
        wall_s: Time taken.
        listing: How the source was read and what was passed over.
        held_out: The same of the part held out.
        division: How the source was divided.
    """

    manifest: DatasetManifest
    source_format: SourceFormat
    listed: int
    rejected: dict[str, int]
    was_finished: bool
    wall_s: float
    listing: SourceListing
    held_out: IngestSummary | None = None
    division: Division | None = None

    @property
    def odd(self) -> dict[str, int]:
        """How many were kept with something odd about their signal, for each `SignalNote`."""
        return self.manifest.totals.odd

    @property
    def hours(self) -> float:
        """Audio hours in the dataset."""
        return self.manifest.totals.samples / SAMPLE_RATE / 3600


@dataclass
class _Part:
    """A dataset to make of some of the items."""

    place: Location
    name: str
    tasks: list[ShardTask]
    finished: DatasetManifest | None
    results: list[ShardResult] = field(default_factory=list)

    @property
    def listed(self) -> int:
        if self.finished is not None and not self.tasks:
            return self.finished.totals.utterances + self.finished.totals.rejected
        return sum(len(task.items) for task in self.tasks)


def prepare_dataset(
    source: str | Path | Location,
    out: str | Path | Location,
    *,
    source_format: SourceFormat | None = None,
    settings: IngestSettings | None = None,
    jobs: int = 1,
    max_rejects: float = 0.01,
    progress: IngestProgress | None = None,
    keys: ChosenKeys = USUAL_KEYS,
    hold_out: HoldOut | None = None,
    announce: Callable[[SourceListing, Division | None], None] | None = None,
    notify: Callable[[str], None] = lambda message: None,
    segment: SegmentSettings | None = None,
) -> IngestSummary:
    """Turn a source of audio into a dataset, or two; the bytes do not depend on `jobs`.

    Killed or interrupted at any time, the same call goes on with the shards that are not finished.

    Args:
        source: LibriSpeech tree, manifest, table, folder of audio or audio file: a path on this machine (and, on a
            cluster of several nodes, under the same path on all), or a URI of a store, which all nodes read.
        out: Folder or URI of the dataset.
        source_format: None to guess it.
        settings: Codec, limits, shard size.
        jobs: 1 works in this process without Ray; more are that many Ray tasks at a time.
        max_rejects: Fraction of files that may be rejected, over both parts.
        progress: Told how far it is.
        keys: Columns of a manifest or table that the user names.
        hold_out: The part to hold out.
        announce: Told what was listed, before anything is decoded.
        notify: Told what is waited for, when no node of a cluster has room for a task.
        segment: Cut recordings that are longer than its longest piece at their pauses; None leaves all whole.

    Raises:
        MissingExtraError: The detector of speech needs an extra that is not installed.
        DatasetError: The source is malformed or empty, `out` holds something else, or too many files were rejected.
        StorageError: A place cannot be read or written.
        RunFailedError: A Ray worker died again and again.
    """
    started_s = time.monotonic()
    settings = settings or IngestSettings()
    with laid_out(source) as place:
        listing = read_source(place.path, source_format, keys, None if segment is None else segment.pieces)
        listing = replace(listing, items=place.finish(listing.items))
    asked = None
    if segment is not None:
        asked = asked_key(listing.items, settings, asdict(segment))
        finished = finished_as_asked(locate(out), asked) if hold_out is None else None
        if finished is not None:
            # The pieces are known by what they became; to find them again would take as long as the first time.
            check_sizes(locate(out), finished)
            part = _Part(locate(out), "whole", [], finished)
            return _summary(part, None, listing, time.monotonic() - started_s)
        listing = _segmented(listing, segment, locate(out), jobs, progress, notify)
    division = _divide(listing, out, hold_out)
    if announce is not None:
        announce(listing, division)
    if hold_out is None or division is None:
        parts = [_part("whole", listing.items, settings, locate(out))]
    else:
        kept = _part("kept", division.kept, settings, locate(out))
        parts = [kept, _part("held out", division.held_out, settings, locate(hold_out.to))]
    unfinished = [part for part in parts if part.finished is None]
    with ExitStack() as folders:
        for part in unfinished:
            folders.enter_context(ingest_folder(part.place))
        _write(unfinished, jobs, Counter(progress, sum(part.listed for part in unfinished)), notify)
        if settings.drop_copies:
            _drop_copies(unfinished, jobs, notify)
        if len(parts) > 1:
            _check_all(parts, max_rejects)
            max_rejects = 1.0  # of a part: the whole was judged
        made = {
            part.name: finalise(
                part.tasks, part.results, part.place, max_rejects, asked, _record(listing, part, division, hold_out)
            )
            for part in unfinished
        }
    for part in parts:
        forget_notes(part.place)
    wall_s = time.monotonic() - started_s
    summaries = [_summary(part, made.get(part.name), listing, wall_s) for part in parts]
    if len(summaries) == 1:
        return summaries[0]
    return replace(summaries[0], held_out=summaries[1], division=division)


def _segmented(
    listing: SourceListing,
    settings: SegmentSettings,
    out: Location,
    jobs: int,
    progress: IngestProgress | None,
    notify: Callable[[str], None],
) -> SourceListing:
    """The listing with pieces in place of long recordings."""
    is_finished = MANIFEST_NAME in out.names()
    with nullcontext() if is_finished else ingest_folder(out):
        tasks = shared_out(listing.items, settings, None if is_finished else out, jobs)
        report = Counter(progress, len(listing.items))
        report(0)
        if min(jobs, len(tasks)) == 1:
            found = [segment_recordings(task, report) for task in tasks]
        else:
            sizes = [len(task.items) for task in tasks]
            found = run_on_workers(
                segment_recordings, tasks, at_once=jobs, on_done=lambda part: report(sizes[part]), notify=notify
            )
    recordings: list[Recording] = [recording for part in found for recording in part]
    items, cut = pieces_of(recordings, settings.detector)
    if not items:
        raise DatasetError(f"nothing is left: {cut}; try --segment energy, or a smaller --segment-min-s")
    return replace(listing, items=items, segmented=cut)


def _divide(listing: SourceListing, out: str | Path | Location, hold_out: HoldOut | None) -> Division | None:
    if hold_out is None:
        return None
    paths = [locate(place).path.rstrip("/") + "/" for place in (out, hold_out.to)]
    if paths[0].startswith(paths[1]) or paths[1].startswith(paths[0]):
        raise DatasetError(f"--hold-out-to {hold_out.to}: must not be, hold or lie in the dataset's folder {out}")
    return divide(listing.items, hold_out.share, hold_out.seed, by_speaker=hold_out.by_speaker)


def _part(name: str, items: Sequence[SourceItem], settings: IngestSettings, place: Location) -> _Part:
    tasks = plan_shards(items, settings, place)
    manifest = finished_dataset(place, ingest_key(tasks))
    if manifest is not None:
        check_sizes(place, manifest)
    return _Part(place, name, tasks, manifest)


def _write(parts: Sequence[_Part], jobs: int, report: Counter, notify: Callable[[str], None]) -> None:
    """Write the shards of all parts."""
    if not parts:
        return
    tasks = [task for part in parts for task in part.tasks]
    report(0)
    results = iter(write_shards(tasks, jobs, report, notify))
    for part in parts:
        part.results = [next(results) for _ in part.tasks]


def _drop_copies(parts: Sequence[_Part], jobs: int, notify: Callable[[str], None]) -> None:
    """Write shards again without what is there twice; a copy between both parts stays in the one held out."""
    ordered = sorted(parts, key=lambda part: part.name != "held out")
    again = without_copies([part.tasks for part in ordered], [part.results for part in ordered])
    if not again:
        return
    written = write_shards(again, jobs, Counter(None, 0), notify)
    results = {task.note.uri: result for task, result in zip(again, written, strict=True)}
    for part in parts:
        part.results = [
            results.get(task.note.uri, result) for task, result in zip(part.tasks, part.results, strict=True)
        ]


def _check_all(parts: Sequence[_Part], max_rejects: float) -> None:
    """Judge the rejects of all parts together: one file of a small part would be too large a share of it."""
    rejects = [reject for part in parts if part.finished is None for reject in note_rejects(part.results, part.place)]
    # A part is finished only after the whole was judged.
    if all(part.finished is None for part in parts):
        check_rejects(rejects, sum(part.listed for part in parts), parts[0].place, max_rejects)


def _record(listing: SourceListing, part: _Part, division: Division | None, hold_out: HoldOut | None) -> dict[str, Any]:
    """What ingest.json says of the source; nothing of where it lies."""
    record = {
        "format": listing.source_format,
        "read_as": listing.description,
        "found": len(listing.items),
        "renamed": listing.renamed,
        "different_texts": len(listing.contradictions),
        **listing.notes.as_dict(),
    }
    if listing.segmented is not None:
        record["segmented"] = listing.segmented.as_dict()
    if division is not None and hold_out is not None:
        record |= {
            "part": part.name,
            "hold_out": {"share": hold_out.share, "seed": hold_out.seed, "by": division.unit},
            "found_in_part": part.listed,
        }
    return record


def _summary(part: _Part, made: DatasetManifest | None, listing: SourceListing, wall_s: float) -> IngestSummary:
    manifest = made or part.finished
    assert manifest is not None
    rejected = (
        recorded_rejects(part.place)
        if made is None
        else count_reasons([reject for result in part.results for reject in result.rejects])
    )
    return IngestSummary(
        manifest, listing.source_format, part.listed, rejected, part.finished is not None, wall_s, listing
    )
