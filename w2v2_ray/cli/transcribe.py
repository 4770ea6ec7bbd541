"""`w2v2-ray transcribe`: what is said in files, folders and datasets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from w2v2_ray.cli.import_command import VocabularyOption
from w2v2_ray.cli.options import (
    AverageOption,
    BatchSizeOption,
    BeamOption,
    BestOption,
    DeviceChoice,
    DeviceOption,
    InputsArgument,
    LexiconOption,
    LmOption,
    LmWeightOption,
    OverlapOption,
    PrecisionChoice,
    PrecisionOption,
    WindowOption,
    WordScoreOption,
    cutting_of,
)

if TYPE_CHECKING:
    from w2v2_ray.data.listening.pieces import Failure
    from w2v2_ray.recognition.transcription import Transcript


class FormatChoice(StrEnum):
    """Formats of transcripts."""

    TEXT = "text"
    JSONL = "jsonl"
    SRT = "srt"
    VTT = "vtt"
    CTM = "ctm"


class DetailChoice(StrEnum):
    """How fine the times of JSON lines are."""

    WORD = "word"
    CHARACTER = "character"
    NONE = "none"


def transcribe(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A fine-tuning run, a checkpoint, what `import` reads; or a URI."),
    ],
    inputs: InputsArgument,
    best: BestOption = False,
    average: AverageOption = 1,
    vocabulary: VocabularyOption = None,
    output_format: Annotated[FormatChoice, typer.Option("--format", help="What to write.")] = FormatChoice.TEXT,
    timestamps: Annotated[DetailChoice, typer.Option(help="Times in jsonl.")] = DetailChoice.WORD,
    out: Annotated[
        Path | None, typer.Option(help="A file for all (a name with a suffix), or a folder for one file each.")
    ] = None,
    batch_size: BatchSizeOption = 8,
    window_s: WindowOption = 15.0,
    overlap_s: OverlapOption = 3.0,
    lm: LmOption = None,
    lexicon: LexiconOption = None,
    beam: BeamOption = 50,
    lm_weight: LmWeightOption = 2.0,
    word_score: WordScoreOption = -1.0,
    device: DeviceOption = DeviceChoice.AUTO,
    precision: PrecisionOption = PrecisionChoice.FP32,
) -> None:
    """Transcribe audio of any length, with times and confidence. Greedy decoding, or beam search with --lm.

    A file that cannot be used is reported, the others are transcribed all the same; the exit code is then 2. Silent
    and saturated files are named, too.
    """
    from w2v2_ray.cli.output import print_notes
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.data.listening.inputs import find_sources
    from w2v2_ray.data.listening.pieces import Failure
    from w2v2_ray.errors import AudioError, SpecError
    from w2v2_ray.recognition.decoding import Decoding
    from w2v2_ray.recognition.recogniser import load_recogniser
    from w2v2_ray.recognition.transcription import transcribe as run

    cutting = cutting_of(batch_size, window_s, overlap_s)
    recogniser = load_recogniser(
        model, best=best, average=average, vocabulary=vocabulary, device=device.value, precision=precision.value
    )
    print_notes(recogniser.notes)
    found = find_sources(inputs)
    print_notes(found.notes)
    sources = found.sources
    one_file = out is None or (bool(out.suffix) and not out.is_dir())
    if one_file and len(sources) > 1 and output_format in (FormatChoice.SRT, FormatChoice.VTT):
        raise SpecError(
            f"--format {output_format.value}: one file for each of {len(sources)} inputs; give --out FOLDER"
        )
    decoder = Decoding(lm, lexicon, beam, lm_weight, word_score).decoder(recogniser.vocabulary)
    print_notes(decoder.notes)
    failures: list[Failure] = []
    notes: list[str] = []
    writer = _Writer(output_format, timestamps, out, several=len(sources) > 1)
    with progress_bar("transcribing", "files") as progress:
        results = run(sources, recogniser, decoder, cutting)
        for done, result in enumerate(results, 1):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                writer.write(result)
                notes += [f"{result.name}: {result.note}"] if result.note is not None else []
            progress(done, len(sources))
    writer.close()
    print_notes(notes)
    if failures:
        listed = "\n".join(f"{failure.name}: {failure.reason}" for failure in failures)
        raise AudioError(f"{len(failures)} of {len(sources)} could not be transcribed:\n{listed}")


class _Writer:
    """Puts transcripts where the user wants them: standard output, one file, or one file each."""

    def __init__(self, wanted: FormatChoice, detail: DetailChoice, out: Path | None, *, several: bool) -> None:
        self._wanted = wanted
        self._detail = detail
        self._several = several
        self._file = out
        self._folder = out if out is not None and (out.is_dir() or not out.suffix) else None
        self._texts: list[str] = []
        self._used: set[str] = set()

    def write(self, transcript: Transcript) -> None:
        """Write one, or keep it for the file of all."""
        from w2v2_ray.places.new_files import new_file
        from w2v2_ray.recognition.transcript_formats import render

        text = render(transcript, self._wanted.value, self._detail.value)
        if self._folder is not None:
            with new_file(self._folder / self._name(transcript.name)) as temporary:
                temporary.write_text(text, encoding="utf-8")
            return
        if self._wanted is FormatChoice.TEXT and self._several:
            text = f"{transcript.name}\t{text}"
        if self._file is None:
            typer.echo(text, nl=False)
        else:
            self._texts.append(text)

    def close(self) -> None:
        """Write the file of all, whole or not at all: an earlier one stays when nothing could be transcribed."""
        from w2v2_ray.places.new_files import new_file

        if self._file is not None and self._folder is None and self._texts:
            with new_file(self._file) as temporary:
                temporary.write_text("".join(self._texts), encoding="utf-8")

    def _name(self, source: str) -> str:
        """A file name for a source; two sources of one name get a number."""
        from w2v2_ray.recognition.transcript_formats import base_name

        suffix = {"text": "txt"}.get(self._wanted.value, self._wanted.value)
        stem = base_name(source)
        name, number = f"{stem}.{suffix}", 1
        while name in self._used:
            number += 1
            name = f"{stem}~{number}.{suffix}"
        self._used.add(name)
        return name
