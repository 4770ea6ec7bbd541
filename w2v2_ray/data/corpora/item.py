"""One utterance of a source, before it is decoded."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from w2v2_ray.data.members import Member
from w2v2_ray.places.stores import STORE_SCHEMES, is_uri, plain_name

LIBRISPEECH_ID = re.compile(r"(\d+)-\d+-\d+")
_NOT_SPEAKERS = frozenset(
    {"audio", "audios", "clips", "data", "flac", "mp3", "ogg", "recordings", "segments", "wav", "wavs"}
)


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One utterance to ingest.

    Args:
        id: Unique name.
        path: Absolute path of the audio file, or its URI.
        source: That path relative to the source, for the record.
        transcript: What is said, where known.
        speaker: Who says it, where known.
        offset_s: Start within the file; None means from its start.
        duration_s: Length, where the manifest says so.
        frames: Length in samples at the file's rate, where the manifest says so.
        problem: Why the item cannot be used, found while listing; a `reason: detail` as of `AudioError`.
        member: Where its audio lies within the file; None where it is the file.
        stamp: Size in bytes and time of change in nanoseconds of a file in a store, where its listing says so.
    """

    id: str
    path: str
    source: str
    transcript: str | None = None
    speaker: str | None = None
    offset_s: float | None = None
    duration_s: float | None = None
    frames: int | None = None
    problem: str | None = None
    member: Member | None = None
    stamp: tuple[int, int] | None = None


def stamp_of(item: SourceItem) -> tuple[int, int] | None:
    """Size in bytes and time of change in nanoseconds of the item's file; None where that is not known."""
    if item.stamp is not None or is_uri(item.path):
        return item.stamp
    try:
        status = os.stat(item.path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def item_of(path: Path, relative: Path) -> SourceItem:
    """The utterance of a whole file, its id and speaker taken from its name below the source."""
    source = valid_text(relative.as_posix())
    without_suffix = source[: len(source) - len(relative.suffix)] if relative.suffix else source
    return SourceItem(without_suffix, str(path), source, speaker=speaker_of(relative))


def item_below(path: Path, folder: Path) -> SourceItem:
    """The utterance of a file that a list in a folder names; its id counts from there, or from the root if outside."""
    return item_of(path, path.relative_to(folder if path.is_relative_to(folder) else path.anchor))


def item_at(uri: str) -> SourceItem:
    """The utterance of a whole file in a store; with a problem where it is in none that can be read."""
    scheme = uri.partition("://")[0].lower()
    name = plain_name(uri)
    item = replace(item_of(Path("/") / name, Path(name)), path=uri)
    if scheme in STORE_SCHEMES:
        return item
    problem = f"not_as_listed: {scheme}:// is no store that is read ({', '.join(STORE_SCHEMES)}); download it first"
    return replace(item, path=name, problem=problem)


def speaker_of(relative: Path) -> str | None:
    """Guess from the LibriSpeech form of a name, or take the folder's name."""
    match = LIBRISPEECH_ID.fullmatch(relative.stem)
    if match:
        return match[1]
    folder = relative.parent.name
    return valid_text(folder) if folder and folder.lower() not in _NOT_SPEAKERS else None


def valid_text(name: str) -> str:
    """A file name as valid Unicode: names that are not UTF-8 would not fit an Arrow string."""
    return os.fsencode(name).decode("utf-8", "replace")


def writable(text: str) -> str:
    """Text without halves of characters (lone surrogates), which JSON can hold and no file can."""
    return text.encode("utf-8", "replace").decode("utf-8")
