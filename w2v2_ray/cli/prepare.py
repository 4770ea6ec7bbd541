"""`w2v2-ray prepare`: audio to an Arrow dataset."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class FormatChoice(StrEnum):
    """Formats of a source, as `data.sources.SourceFormat`."""

    LIBRISPEECH = "librispeech"
    MANIFEST = "manifest"
    JSONL = "jsonl"
    FOLDER = "folder"


class CodecChoice(StrEnum):
    """Codecs, as `data.schema.Codec`."""

    PCM16 = "pcm16"
    FLAC = "flac"


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            help="LibriSpeech tree, fairseq/NVIDIA .tsv (transcripts from the .ltr beside it), NeMo .jsonl, "
            "or a folder of wav, flac, ogg and mp3 at any depth (transcripts from the .txt beside each)."
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
) -> None:
    """Turn audio into a dataset of memory-mapped Arrow shards: 16 kHz, mono, checksummed.

    Files that cannot be used are listed in rejects.jsonl with the reason. Killed and run again, it goes on with what
    is not finished. The result does not depend on --jobs.
    """
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.data.audio import DurationLimits
    from w2v2_ray.data.ingest_plan import IngestSettings
    from w2v2_ray.data.signal import SignalLimits
    from w2v2_ray.errors import UserError
    from w2v2_ray.orchestration.ingest import prepare_dataset

    if min_s >= max_s:
        raise UserError(f"--min-s {min_s:g} is not below --max-s {max_s:g}; nothing could be kept")
    settings = IngestSettings(
        codec=codec.value,
        limits=DurationLimits(min_s, max_s),
        target_shard_bytes=round(shard_mb * 2**20),
        signal=SignalLimits(max_peak, max_clipped, min_level_dbfs),
    )
    with progress_bar("preparing", "files") as progress:
        summary = prepare_dataset(
            source,
            out,
            source_format=source_format.value if source_format else None,
            settings=settings,
            jobs=jobs,
            max_rejects=max_rejects,
            progress=progress,
        )
    totals = summary.manifest.totals
    if summary.was_finished:
        print(f"{out}: this dataset is finished already, nothing to do")
    print(
        f"{out}: {totals.utterances} utterances, {summary.hours:.3f} hours, {totals.speakers} speakers, "
        f"{len(summary.manifest.shards)} shards ({summary.manifest.codec}), fingerprint {summary.manifest.fingerprint}"
    )
    reasons = ", ".join(f"{reason} {count}" for reason, count in summary.rejected.items())
    print(f"rejected {totals.rejected} of {summary.listed}" + (f" ({reasons}); see rejects.jsonl" if reasons else ""))
    if summary.odd:
        print("kept but odd: " + ", ".join(f"{note} {count}" for note, count in summary.odd.items()))
