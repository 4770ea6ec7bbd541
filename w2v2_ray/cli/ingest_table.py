"""The table that `prepare` ends with: found, used, rejected, passed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from w2v2_ray.data.ingestion.hold_out import Division
    from w2v2_ray.data.ingestion.sources import SourceListing
    from w2v2_ray.orchestration.ingest import IngestSummary

_INDENT = " " * 9


def listing_lines(
    source: str, listing: SourceListing, division: Division | None, asked: float | None = None
) -> Iterator[str]:
    """What is known before anything is decoded: a guess that is wrong is seen before the hours it costs."""
    texts = sum(item.transcript is not None for item in listing.items)
    yield (
        f"{source}: read as {listing.description}; {len(listing.items):,} utterances listed, "
        f"{texts:,} with a transcript"
    )
    if listing.segmented is not None:
        yield f"segmented: {listing.segmented}"
    if not texts:
        yield "note: without transcripts it serves pre-training only; `w2v2-ray prepare --help` says where they belong"
    if listing.renamed:
        yield f"note: {listing.renamed:,} have an id that occurred before; theirs end in ~2, ~3, ..."
    if listing.contradictions:
        yield (
            f"warning: {len(listing.contradictions):,} recordings or parts are listed with different texts, and all "
            f"are kept; if one is wrong, remove its line: {listing.contradictions[0]}"
        )
    if division is not None and asked is not None:
        yield f"held out: {division}"
        share = len(division.held_out) / len(listing.items)
        if not asked / 2 <= share <= asked * 2:
            nearer = "; --hold-out-by recording comes nearer" if division.unit == "speakers" else ""
            yield f"note: {share:.1%} are held out, {asked:.1%} were asked for: {division.unit} are not cut{nearer}"
        if division.unit != "speakers" and any(item.speaker is not None for item in listing.items):
            yield f"note: divided by {division.unit}, so a speaker may be in both parts"


def table_lines(out: str, summary: IngestSummary, held_out_to: str | None = None) -> Iterator[str]:
    """What was made, of what, and what was left out and why."""
    yield from _part_lines(out, summary)
    if summary.held_out is not None and held_out_to is not None:
        yield from _part_lines(held_out_to, summary.held_out)
    notes = summary.listing.notes
    for line in notes.read_lines():
        yield f"read     {line}"
    passed = notes.passed_lines()
    yield "passed over" + (":" if passed else ": nothing")
    for line in passed:
        yield _INDENT + line


def _part_lines(out: str, summary: IngestSummary) -> Iterator[str]:
    manifest, totals = summary.manifest, summary.manifest.totals
    if summary.was_finished:
        yield f"{out}: this dataset is finished already, nothing to do"
    yield (
        f"{out}: {totals.utterances} utterances, {summary.hours:.3f} hours, {totals.speakers} speakers, "
        f"{len(manifest.shards)} shards ({manifest.codec}), fingerprint {manifest.fingerprint}"
    )
    yield f"found    {summary.listed:,} utterances, as {summary.listing.description}"
    yield (
        f"used     {totals.utterances:,}: {totals.transcribed:,} of {totals.utterances:,} with a transcript, "
        f"{totals.speakers:,} speakers"
    )
    if summary.odd:
        yield "odd      kept all the same: " + ", ".join(f"{note} {count}" for note, count in summary.odd.items())
    reasons = ", ".join(f"{reason} {count}" for reason, count in summary.rejected.items())
    yield f"rejected {totals.rejected} of {summary.listed}" + (f" ({reasons}); see rejects.jsonl" if reasons else "")
