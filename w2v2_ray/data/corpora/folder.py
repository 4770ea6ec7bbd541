"""A folder of audio at any depth, with what is said in files beside the audio or in a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from w2v2_ray.data.corpora import json_manifest, table
from w2v2_ray.data.corpora.files import AudioFolder, pass_over, walk_audio
from w2v2_ray.data.corpora.item import SourceItem, item_of, valid_text
from w2v2_ray.data.corpora.keys import TEXT_FILE_KEYS, TEXT_KEYS, USUAL_KEYS, ChosenKeys, find_key
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.corpora.text_files import TranscriptsBeside, is_transcript_name
from w2v2_ray.data.corpora.timed_beside import TimedTranscripts
from w2v2_ray.data.corpora.timed_files import is_timed_name
from w2v2_ray.data.piece_settings import PieceSettings
from w2v2_ray.errors import DatasetError

_METADATA = "metadata"


def read_folder(
    root: Path, notes: ListingNotes, tables: Sequence[AudioTable] = (), pieces: PieceSettings | None = None
) -> Iterator[SourceItem]:
    """Utterances of a folder; those that a table lists come first, then the rest.

    Args:
        root: The folder.
        notes: Where to count.
        tables: Tables in it that are to be read.
        pieces: How recordings are cut, where they are.
    """
    listed: set[str] = set()
    for found in tables:
        for item in found.items(root, notes):
            listed.add(item.path)
            yield item
    folders = list(walk_audio(root, notes))  # all of them: a list may name recordings of any
    timed = TimedTranscripts.within(folders, pieces)
    used = {found.path for found in tables} | timed.lists
    for folder in folders:
        beside = TranscriptsBeside(folder.path, folder.others)
        for name in folder.audio:
            path = folder.path / name
            item = item_of(path, path.relative_to(root))
            if item.path in listed:
                beside.leave(item, name, notes)
            else:
                read, parts = timed.of(beside.of(item, name, notes), path, folder.others, notes)
                used.update({folder.path / read} if read else ())
                yield from parts
        _note_others(folder, beside, used, root, notes)
    timed.note_missing(notes)


def read_file(path: Path, notes: ListingNotes, pieces: PieceSettings | None = None) -> Iterator[SourceItem]:
    """One audio file, with the transcript beside it."""
    names = sorted(other.name for other in path.parent.iterdir() if not other.name.startswith("."))
    texts = [name for name in names if is_transcript_name(name)]
    whole = TranscriptsBeside(path.parent, texts).of(item_of(path, Path(path.name)), path.name, notes)
    yield from TimedTranscripts.beside(path, names, pieces).of(whole, path, names, notes)[1]


@dataclass(frozen=True)
class AudioTable:
    """A file within a folder of audio that says what is said in it.

    Args:
        path: The file.
        shape: How to read it; None for JSON.
        chosen: Keys that the user names.
    """

    path: Path
    shape: table.TableShape | None
    chosen: ChosenKeys

    def items(self, root: Path, notes: ListingNotes) -> Iterator[SourceItem]:
        """Its utterances, with ids that count from `root`."""
        if self.shape is None:
            read = json_manifest.read_json_manifest(self.path, notes, self.chosen)
        else:
            read = table.read_table(self.path, self.shape, notes, self.chosen)
        prefix = valid_text(self.path.parent.relative_to(root).as_posix())
        for item in read:
            yield item if prefix == "." else replace(item, id=f"{prefix}/{item.id}", source=f"{prefix}/{item.source}")


def find_tables(root: Path, chosen: ChosenKeys = USUAL_KEYS) -> list[AudioTable]:
    """Tables of a folder that give transcripts: `metadata.*` at any depth, or else the only other one at its top.

    Raises:
        DatasetError: There are several at its top, and none is called metadata.
    """
    named: list[AudioTable] = []
    others: list[AudioTable] = []
    for folder in walk_audio(root, ListingNotes()):
        stems = {Path(name).stem for name in folder.audio}
        for name in folder.others:
            is_named = Path(name).stem.lower() == _METADATA
            if (is_named or folder.path == root) and Path(name).stem not in stems:
                found = _table(folder.path / name, chosen)
                if found is not None:
                    (named if is_named else others).append(found)
    if named or len(others) < 2:
        return named or others
    listed = ", ".join(found.path.name for found in others)
    raise DatasetError(
        f"{root}: holds several lists of audio with transcripts ({listed}); give one of them as the source, such as "
        f"{others[0].path}, or take all audio without them: --format folder"
    )


def _table(path: Path, chosen: ChosenKeys) -> AudioTable | None:
    suffix = path.suffix.lower()
    if suffix in json_manifest.SUFFIXES:
        keys = json_manifest.keys_of(path)
        known = keys is not None and find_key(keys, (*TEXT_KEYS, *TEXT_FILE_KEYS), chosen.text) is not None
        return AudioTable(path, None, chosen) if known else None
    if suffix not in table.SUFFIXES:
        return None
    shape = table.shape_of(path, chosen)
    return AudioTable(path, shape, chosen) if shape is not None and shape.has_text else None


def _note_others(
    folder: AudioFolder, beside: TranscriptsBeside, used: set[Path], root: Path, notes: ListingNotes
) -> None:
    """Count the files of a folder that nothing was read from."""
    for name in folder.others:
        path = folder.path / name
        if name in beside.taken or path in used:
            continue
        if folder.path == root and _table(path, USUAL_KEYS) is not None:
            notes.passed_over(Passed.TABLES, name)
        elif is_transcript_name(name) or is_timed_name(name):
            notes.passed_over(Passed.WITHOUT_AUDIO, path.suffix, path.relative_to(root).as_posix())
        else:
            pass_over(path, root, notes)
