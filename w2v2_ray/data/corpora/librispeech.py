"""LibriSpeech and what is laid out like it: SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac with `*.trans.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from w2v2_ray.data.corpora.files import AudioFolder, pass_over, walk_audio
from w2v2_ray.data.corpora.item import LIBRISPEECH_ID, SourceItem, item_of, valid_text
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.corpora.text_files import is_transcript_name
from w2v2_ray.data.corpora.text_lines import numbered_lines
from w2v2_ray.errors import DatasetError

_TRANSCRIPTS_SUFFIX = ".trans.txt"


def is_librispeech(root: Path) -> bool:
    """Whether a folder holds a `*.trans.txt` at any depth."""
    return any(_lists_transcripts(name) for folder in walk_audio(root, ListingNotes()) for name in folder.others)


def read_librispeech(root: Path, notes: ListingNotes) -> Iterator[SourceItem]:
    """Utterances with their lines of `*.trans.txt`.

    Audio without a line is kept without a transcript; a line without audio is reported as missing by ingest.

    Raises:
        DatasetError: A line of transcripts is malformed.
    """
    for folder in walk_audio(root, notes):
        transcripts = _transcripts(folder, root, notes)
        audio: dict[str, str] = {}
        for name in folder.audio:
            audio[Path(name).stem] = name
        for name in folder.audio:
            if audio[Path(name).stem] != name:
                notes.passed_over(Passed.TWINS, Path(name).suffix.lower(), _below(folder.path / name, root))
        for utterance_id in sorted(transcripts.keys() | audio.keys()):
            path = folder.path / audio.get(utterance_id, f"{utterance_id}.flac")
            item = item_of(path, path.relative_to(root))
            match = LIBRISPEECH_ID.fullmatch(utterance_id)
            if utterance_id in transcripts:
                notes.read(f"transcripts from {_TRANSCRIPTS_SUFFIX}")
                if not transcripts[utterance_id]:
                    notes.passed_over(Passed.EMPTY_TEXTS, _TRANSCRIPTS_SUFFIX, item.source)
            yield replace(
                item,
                id=valid_text(utterance_id),
                transcript=transcripts.get(utterance_id),
                speaker=match[1] if match else item.speaker,
            )


def _transcripts(folder: AudioFolder, root: Path, notes: ListingNotes) -> dict[str, str]:
    """Lines of the folder's `*.trans.txt`, by utterance."""
    transcripts: dict[str, str] = {}
    for name in folder.others:
        if not _lists_transcripts(name):
            if is_transcript_name(name):
                notes.passed_over(Passed.WITHOUT_AUDIO, Path(name).suffix, _below(folder.path / name, root))
            else:
                pass_over(folder.path / name, root, notes)
            continue
        for number, line in numbered_lines(folder.path / name):
            utterance_id, _, text = line.replace("\t", " ", 1).partition(" ")
            if not utterance_id:
                raise DatasetError(f"{folder.path / name}:{number}: a line must be `ID TRANSCRIPT`, this is {line!r}")
            known = transcripts.setdefault(utterance_id, text.strip())
            if known != text.strip():
                raise DatasetError(
                    f"{folder.path / name}:{number}: {utterance_id} is there with another text already "
                    f"({known[:40]!r}); keep the right one"
                )
    return transcripts


def _lists_transcripts(name: str) -> bool:
    return name.lower().endswith(_TRANSCRIPTS_SUFFIX)


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
