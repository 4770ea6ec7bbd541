"""`w2v2-ray prepare`: audio to an Arrow dataset."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class FormatChoice(StrEnum):
    """Formats of a source, as `data.ingestion.sources.SourceFormat`."""

    LIBRISPEECH = "librispeech"
    MANIFEST = "manifest"
    JSONL = "jsonl"
    TABLE = "table"
    FOLDER = "folder"
    KALDI = "kaldi"
    SPHINX = "sphinx"
    LHOTSE = "lhotse"
    TAR = "tar"
    ARROW = "arrow"


class CodecChoice(StrEnum):
    """Codecs, as `data.schema.Codec`."""

    PCM16 = "pcm16"
    FLAC = "flac"


class SegmentChoice(StrEnum):
    """What tells speech from the rest, as `data.segmentation.detectors.DetectorName`."""

    SILERO = "silero"
    ENERGY = "energy"


class HoldOutChoice(StrEnum):
    """What a held-out part is made of."""

    SPEAKER = "speaker"
    RECORDING = "recording"


def prepare(
    source: Annotated[
        str,
        typer.Argument(
            help="A path, or a URI (s3://, gs://, ...), of: a folder of audio at any depth (transcripts from the .txt, "
            ".lab, .srt, .vtt, .TextGrid beside each file, from a .ctm or .stm of many, or from a "
            "metadata.csv, .tsv or .jsonl in it); a LibriSpeech tree; a table (Common Voice .tsv, Hugging Face or "
            "LJSpeech metadata.csv); NeMo .jsonl; fairseq .tsv (transcripts from the .ltr or .wrd beside it); "
            "a Kaldi or CMU Sphinx folder; lhotse cuts, or recordings and supervisions; WebDataset or NeMo .tar; "
            "Parquet or a saved Hugging Face dataset; or one audio file. "
            "Words in file names become a metadata.csv first: see docs/data.md."
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder or URI (s3://, gs://, ...) of the dataset to make.")],
    source_format: Annotated[
        FormatChoice | None, typer.Option("--format", help="Format of SOURCE; guessed when not given.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Shards written at a time, as Ray tasks; 1 works without Ray.")] = 1,
    codec: Annotated[
        CodecChoice, typer.Option(help="pcm16: read without decoding. flac: smaller, decoded when read. Both lossless.")
    ] = CodecChoice.PCM16,
    shard_mb: Annotated[float, typer.Option(min=0.01, help="Size that shards should have, MiB, roughly.")] = 128,
    min_s: Annotated[float, typer.Option(min=0.0, help="Shorter audio is rejected, seconds.")] = 0.1,
    max_s: Annotated[float, typer.Option(min=0.0, help="Longer audio is rejected, seconds.")] = 60.0,
    max_peak: Annotated[
        float, typer.Option(min=1.0, help="Audio with a larger sample is rejected, in full scales (floating point).")
    ] = 2.0,
    max_clipped: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Audio with a larger fraction of clipped samples is rejected.")
    ] = 0.02,
    min_level_dbfs: Annotated[
        float,
        typer.Option(
            min=-200.0, max=0.0, help="Audio of a lower level (RMS) is rejected as silent, dB below full scale."
        ),
    ] = -75.0,
    max_rejects: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Fraction of files that may be rejected before this fails.")
    ] = 0.01,
    hold_out: Annotated[
        float | None,
        typer.Option(help="Share of the utterances to make a second dataset of, such as 0.05: whole speakers."),
    ] = None,
    hold_out_to: Annotated[
        str | None, typer.Option(help="Folder or URI of that dataset; OUT_heldout when not given.")
    ] = None,
    hold_out_seed: Annotated[int, typer.Option(help="Another number holds out another part.")] = 0,
    hold_out_by: Annotated[
        HoldOutChoice,
        typer.Option(help="What is wholly in one part: speakers (where there are several) or files."),
    ] = HoldOutChoice.SPEAKER,
    segment: Annotated[
        SegmentChoice | None,
        typer.Option(
            help="Cut recordings that are longer than --segment-max-s at their pauses. silero: a network that knows "
            "speech (pip install 'w2v2-ray[segment]'). energy: whatever is louder than the noise."
        ),
    ] = None,
    segment_min_s: Annotated[float, typer.Option(min=0.1, help="Shorter pieces are left out, seconds.")] = 2.0,
    segment_max_s: Annotated[float, typer.Option(min=1.0, help="Length of the longest piece, seconds.")] = 30.0,
    segment_pause_s: Annotated[
        float, typer.Option(min=0.05, help="A pause of this many seconds ends a piece, however short.")
    ] = 1.0,
    min_chars_per_s: Annotated[
        float | None, typer.Option(min=0.0, help="Slower transcripts are rejected, characters a second; see `inspect`.")
    ] = None,
    max_chars_per_s: Annotated[
        float | None, typer.Option(min=0.0, help="Faster transcripts are rejected, characters a second; see `inspect`.")
    ] = None,
    symbols: Annotated[
        str | None, typer.Option(help='Transcripts with other characters are rejected, such as "a-z \'".')
    ] = None,
    require_text: Annotated[bool, typer.Option("--require-text", help="Reject what has no transcript.")] = False,
    drop_copies: Annotated[
        bool, typer.Option("--drop-copies", help="Of utterances with the same samples keep the first.")
    ] = False,
    text_key: Annotated[
        str | None, typer.Option(help="Key or column of the transcript; the usual names are known.")
    ] = None,
    audio_key: Annotated[str | None, typer.Option(help="Key or column of the audio's path.")] = None,
    speaker_key: Annotated[str | None, typer.Option(help="Key or column of the speaker.")] = None,
) -> None:
    """Turn audio into a dataset of memory-mapped Arrow shards: 16 kHz, mono, checksummed.

    Files that cannot be used are listed in rejects.jsonl with the reason; what was passed over is counted at the end
    and in ingest.json. Killed and run again, it goes on with what is not finished. The result does not depend on
    --jobs.
    """
    from functools import partial

    from w2v2_ray.api.datasets import prepare as make_dataset
    from w2v2_ray.cli.ingest_table import listing_lines, table_lines
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.data.audio import DurationLimits
    from w2v2_ray.data.corpora.keys import ChosenKeys
    from w2v2_ray.data.ingestion.hold_out import Division
    from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
    from w2v2_ray.data.ingestion.sources import SourceListing
    from w2v2_ray.data.ingestion.text_limits import TextLimits
    from w2v2_ray.data.piece_settings import PieceSettings
    from w2v2_ray.data.segmentation.recordings import SegmentSettings
    from w2v2_ray.data.signal import SignalLimits
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

    cutting = None
    if segment is not None:
        if segment_min_s >= segment_max_s:
            raise UserError(
                f"--segment-min-s {segment_min_s:g} is not below --segment-max-s {segment_max_s:g}; "
                "nothing could be kept"
            )
        if segment_max_s > max_s:
            raise UserError(
                f"--segment-max-s {segment_max_s:g} is above --max-s {max_s:g}, so that longer pieces would be rejected"
            )
        cutting = SegmentSettings(segment.value, PieceSettings(segment_min_s, segment_max_s, segment_pause_s))

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
            else HoldOut(hold_out, held_out_to, hold_out_seed, hold_out_by is HoldOutChoice.SPEAKER),
            announce=announce,
            notify=partial(typer.echo, err=True),
            segment=cutting,
        )
    for line in table_lines(out, summary, held_out_to):
        print(line)


def _held_out_place(out: str) -> str:
    """The folder beside `out`; the query of a URI stays at its end."""
    base, question, query = out.partition("?") if "://" in out else (out, "", "")
    return f"{base.rstrip('/')}_heldout{question}{query}"
