"""`w2v2-ray synth`: a corpus of synthesised speech."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class AudioFormatChoice(StrEnum):
    """Formats of the audio files."""

    FLAC = "flac"
    WAV = "wav"


def synth(
    out_dir: Annotated[Path, typer.Argument(help="Folder for audio/, train.jsonl and valid.jsonl.")],
    hours: Annotated[float | None, typer.Option(min=0.001, help="Audio to make, hours; or give --utterances.")] = None,
    utterances: Annotated[int | None, typer.Option(min=2, help="Utterances to make; or give --hours.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same corpus, sample by sample.")] = 0,
    voices: Annotated[int, typer.Option(min=2, help="Speakers; every fifth, at least one, is held out.")] = 15,
    valid_fraction: Annotated[float, typer.Option(min=0.01, max=0.5, help="Part that goes to valid.jsonl.")] = 0.1,
    audio_format: Annotated[
        AudioFormatChoice, typer.Option("--audio-format", help="Format of the files, 16 kHz mono.")
    ] = AudioFormatChoice.FLAC,
) -> None:
    """Synthesise speech with transcripts from several voices, for trying things out without a corpus.

    Sentences come from a small grammar, voices from espeak-ng (pip install 'w2v2-ray[demo]'). valid.jsonl holds
    sentences and voices that train.jsonl does not. Killed and run again, it goes on where it stopped.
    """
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.synthesis.corpus import SynthesisSettings, synthesise_corpus

    settings = SynthesisSettings(
        seed=seed,
        voices=voices,
        utterances=utterances,
        hours=hours,
        valid_fraction=valid_fraction,
        audio_format=audio_format.value,
    )
    with progress_bar("synthesising", "utterances" if hours is None else "seconds of audio") as progress:
        summary = synthesise_corpus(out_dir, settings, progress)
    for manifest, count, part_hours, part_voices in zip(
        summary.manifests, summary.utterances, summary.hours, summary.voices, strict=True
    ):
        print(f"{manifest}: {count} utterances, {part_hours:.3f} hours, {part_voices} voices")
