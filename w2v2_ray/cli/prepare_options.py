"""The options of `prepare`."""

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


Source = Annotated[
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
]
Out = Annotated[str, typer.Option(help="Folder or URI (s3://, gs://, ...) of the dataset to make.")]
SourceFormat = Annotated[
    FormatChoice | None, typer.Option("--format", help="Format of SOURCE; guessed when not given.")
]
Jobs = Annotated[int, typer.Option(min=1, help="Shards written at a time, as Ray tasks; 1 works without Ray.")]
Codec = Annotated[
    CodecChoice, typer.Option(help="pcm16: read without decoding. flac: smaller, decoded when read. Both lossless.")
]
ShardMb = Annotated[float, typer.Option(min=0.01, help="Size that shards should have, MiB, roughly.")]
MinS = Annotated[float, typer.Option(min=0.0, help="Shorter audio is rejected, seconds.")]
MaxS = Annotated[float, typer.Option(min=0.0, help="Longer audio is rejected, seconds.")]
MaxPeak = Annotated[
    float, typer.Option(min=1.0, help="Audio with a larger sample is rejected, in full scales (floating point).")
]
MaxClipped = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Audio with a larger fraction of clipped samples is rejected.")
]
MinLevelDbfs = Annotated[
    float,
    typer.Option(min=-200.0, max=0.0, help="Audio of a lower level (RMS) is rejected as silent, dB below full scale."),
]
MaxRejects = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Fraction of files that may be rejected before this fails.")
]
HoldOut = Annotated[
    float | None,
    typer.Option(help="Share of the utterances to make a second dataset of, such as 0.05: whole speakers."),
]
HoldOutTo = Annotated[str | None, typer.Option(help="Folder or URI of that dataset; OUT_heldout when not given.")]
HoldOutSeed = Annotated[int, typer.Option(help="Another number holds out another part.")]
HoldOutBy = Annotated[
    HoldOutChoice,
    typer.Option(help="What is wholly in one part: speakers (where there are several) or files."),
]
Segment = Annotated[
    SegmentChoice | None,
    typer.Option(
        help="Cut recordings that are longer than --segment-max-s at their pauses. silero: a network that knows "
        "speech (pip install 'w2v2-ray[segment]'). energy: whatever is louder than the noise."
    ),
]
SegmentMinS = Annotated[float, typer.Option(min=0.1, help="Shorter pieces are left out, seconds.")]
SegmentMaxS = Annotated[float, typer.Option(min=1.0, help="Length of the longest piece, seconds.")]
SegmentPauseS = Annotated[
    float, typer.Option(min=0.05, help="A pause of this many seconds ends a piece, however short.")
]
MinCharsPerS = Annotated[
    float | None, typer.Option(min=0.0, help="Slower transcripts are rejected, characters a second; see `inspect`.")
]
MaxCharsPerS = Annotated[
    float | None, typer.Option(min=0.0, help="Faster transcripts are rejected, characters a second; see `inspect`.")
]
Symbols = Annotated[str | None, typer.Option(help='Transcripts with other characters are rejected, such as "a-z \'".')]
RequireText = Annotated[bool, typer.Option("--require-text", help="Reject what has no transcript.")]
DropCopies = Annotated[bool, typer.Option("--drop-copies", help="Of utterances with the same samples keep the first.")]
TextKey = Annotated[str | None, typer.Option(help="Key or column of the transcript; the usual names are known.")]
AudioKey = Annotated[str | None, typer.Option(help="Key or column of the audio's path.")]
SpeakerKey = Annotated[str | None, typer.Option(help="Key or column of the speaker.")]
