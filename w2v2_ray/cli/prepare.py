"""`w2v2-ray prepare`: audio to an Arrow dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import typer

from w2v2_ray.cli import prepare_options as options

if TYPE_CHECKING:
    from w2v2_ray.data.piece_settings import PieceSettings
    from w2v2_ray.data.segmentation.recordings import SegmentSettings


def prepare(
    source: options.Source,
    out: options.Out,
    source_format: options.SourceFormat = None,
    jobs: options.Jobs = 1,
    codec: options.Codec = options.CodecChoice.PCM16,
    shard_mb: options.ShardMb = 128,
    min_s: options.MinS = 0.1,
    max_s: options.MaxS = 60.0,
    max_peak: options.MaxPeak = 2.0,
    max_clipped: options.MaxClipped = 0.02,
    min_level_dbfs: options.MinLevelDbfs = -75.0,
    max_rejects: options.MaxRejects = 0.01,
    hold_out: options.HoldOut = None,
    hold_out_to: options.HoldOutTo = None,
    hold_out_seed: options.HoldOutSeed = 0,
    hold_out_by: options.HoldOutBy = options.HoldOutChoice.SPEAKER,
    segment: options.Segment = None,
    segment_min_s: options.SegmentMinS = 2.0,
    segment_max_s: options.SegmentMaxS = 30.0,
    segment_pause_s: options.SegmentPauseS = 1.0,
    min_chars_per_s: options.MinCharsPerS = None,
    max_chars_per_s: options.MaxCharsPerS = None,
    symbols: options.Symbols = None,
    require_text: options.RequireText = False,
    drop_copies: options.DropCopies = False,
    text_key: options.TextKey = None,
    audio_key: options.AudioKey = None,
    speaker_key: options.SpeakerKey = None,
) -> None:
    """Turn audio into a dataset of memory-mapped Arrow shards: 16 kHz, mono, checksummed.

    Files that cannot be used are listed in rejects.jsonl with the reason; what was passed over is counted at the end
    and in ingest.json. Killed and run again, it goes on with what is not finished. The result does not depend on
    --jobs.
    """
    from functools import partial

    from w2v2_ray.api.datasets import prepare as make_dataset
    from w2v2_ray.audio.reading import DurationLimits
    from w2v2_ray.audio.signal import SignalLimits
    from w2v2_ray.cli.ingest_table import listing_lines, table_lines
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.data.corpora.keys import ChosenKeys
    from w2v2_ray.data.ingestion.hold_out import Division
    from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
    from w2v2_ray.data.ingestion.sources import SourceListing
    from w2v2_ray.data.ingestion.text_limits import TextLimits
    from w2v2_ray.data.piece_settings import PieceSettings
    from w2v2_ray.errors import UserError
    from w2v2_ray.orchestration.ingest import HoldOut

    if min_s >= max_s:
        raise UserError(f"--min-s {min_s:g} is not below --max-s {max_s:g}; nothing could be kept")
    if hold_out is None and hold_out_to is not None:
        raise UserError(f"--hold-out-to {hold_out_to}: say how much: --hold-out 0.05")
    held_out_to = hold_out_to or _held_out_place(out)
    settings = IngestSettings(
        codec=codec.value,
        limits=DurationLimits(min_s, max_s),
        target_shard_bytes=round(shard_mb * 2**20),
        texts=TextLimits(min_chars_per_s, max_chars_per_s, symbols, require_text),
        drop_copies=drop_copies,
        signal=SignalLimits(max_peak, max_clipped, min_level_dbfs),
    )

    cutting = (
        None
        if segment is None
        else _cutting(segment.value, PieceSettings(segment_min_s, segment_max_s, segment_pause_s), max_s)
    )

    def announce(listing: SourceListing, division: Division | None) -> None:
        for line in listing_lines(str(source), listing, division, hold_out):
            typer.echo(line, err=True)

    with progress_bar("preparing", "files") as progress:
        summary = make_dataset(
            source,
            out,
            source_format=source_format.value if source_format else None,
            settings=settings,
            jobs=jobs,
            max_rejects=max_rejects,
            progress=progress,
            keys=ChosenKeys(audio_key, text_key, speaker_key),
            hold_out=None
            if hold_out is None
            else HoldOut(hold_out, held_out_to, hold_out_seed, hold_out_by is options.HoldOutChoice.SPEAKER),
            announce=announce,
            notify=partial(typer.echo, err=True),
            segment=cutting,
        )
    for line in table_lines(out, summary, held_out_to):
        print(line)


def _cutting(detector: Literal["silero", "energy"], pieces: PieceSettings, max_s: float) -> SegmentSettings:
    """How recordings are cut.

    Raises:
        UserError: No piece could be kept.
    """
    from w2v2_ray.data.segmentation.recordings import SegmentSettings
    from w2v2_ray.errors import UserError

    if pieces.min_s >= pieces.max_s:
        raise UserError(
            f"--segment-min-s {pieces.min_s:g} is not below --segment-max-s {pieces.max_s:g}; nothing could be kept"
        )
    if pieces.max_s > max_s:
        raise UserError(
            f"--segment-max-s {pieces.max_s:g} is above --max-s {max_s:g}, so that longer pieces would be rejected"
        )
    return SegmentSettings(detector, pieces)


def _held_out_place(out: str) -> str:
    """The folder beside `out`; the query of a URI stays at its end."""
    base, question, query = out.partition("?") if "://" in out else (out, "", "")
    return f"{base.rstrip('/')}_heldout{question}{query}"
