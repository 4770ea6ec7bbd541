"""Find LibriSpeech's and Libri-light's parts below a folder, and compare what is there with what was published."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from w2v2_ray.data.corpora.item import LIBRISPEECH_ID
from w2v2_ray.data.published_parts import LIBRI_LIGHT_AUDIO, PUBLISHED_PARTS, PublishedPart
from w2v2_ray.errors import DatasetError

_DEPTH = 4
"""Folders below the one given: DOWNLOADS/LibriSpeech/train-clean-100, DOWNLOADS/librispeech_finetuning/1h/0."""
_HOURS_OFF = 0.02
"""Of the published hours, which are rounded: ten minutes are some seconds more or less."""


@dataclass(frozen=True)
class FoundPart:
    """A part as it lies on the disk.

    Attributes:
        part: Which.
        path: Its folder.
        utterances: Audio files in it.
        speakers: By the names of files and folders.
    """

    part: PublishedPart
    path: Path
    utterances: int
    speakers: int

    @property
    def differences(self) -> tuple[str, ...]:
        """What is not as published, in words; empty where all is."""
        published = (("utterances", self.part.utterances), ("speakers", self.part.speakers))
        found = {"utterances": self.utterances, "speakers": self.speakers}
        return tuple(
            f"{found[what]:,} {what}, published are {count:,}"
            for what, count in published
            if count is not None and found[what] != count
        )


def find_parts(root: Path, names: Sequence[str] = ()) -> tuple[FoundPart, ...]:
    """Look for the parts below a folder, by the names that their archives give them, and count files.

    Args:
        root: Where the archives were unpacked.
        names: Of the parts wanted; all that are there when empty.

    Returns:
        In the order of `PUBLISHED_PARTS`.

    Raises:
        DatasetError: There is no such folder; no part in it, or not one that was asked for; one is there twice.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: there is no such folder; give the one where the archives were unpacked")
    known = {part.name: part for part in PUBLISHED_PARTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DatasetError(f"{', '.join(unknown)}: no part of LibriSpeech or Libri-light; there are {', '.join(known)}")
    places = dict(_places(root))
    missing = [known[name] for name in names if name not in places]
    if missing or not places:
        wanted = missing or [part for part in PUBLISHED_PARTS if part.utterances]
        raise DatasetError(
            f"{root}: holds no {', '.join('/'.join(part.folder) for part in wanted)}, {_DEPTH} folders deep; download "
            f"and unpack {', '.join(dict.fromkeys(part.archive for part in wanted))}"
        )
    chosen = [part for part in PUBLISHED_PARTS if part.name in (names or places)]
    return tuple(FoundPart(part, places[part.name], *_count(places[part.name])) for part in chosen)


def hours_differ(part: PublishedPart, hours: float) -> str | None:
    """How a dataset's hours differ from the published ones, in words; None where they do not.

    Chapters without transcripts are cut at pauses, which are left out: how many hours remain is nobody's figure.
    """
    if part.name in LIBRI_LIGHT_AUDIO or abs(hours / part.hours - 1) <= _HOURS_OFF:
        return None
    return f"{hours:.2f} hours, published are {part.hours:.2f}"


def _places(root: Path) -> Iterator[tuple[str, Path]]:
    found: dict[str, Path] = {}
    for folder in _folders(root.resolve(), _DEPTH):
        for part in PUBLISHED_PARTS:
            if folder.parts[-len(part.folder) :] == part.folder and _holds_speakers(folder, part):
                other = found.setdefault(part.name, folder)
                if other != folder:
                    raise DatasetError(
                        f"{'/'.join(part.folder)} is there twice, {other} and {folder}; give one of them"
                    )
    yield from found.items()


def _folders(root: Path, depth: int) -> Iterator[Path]:
    """A folder and those in it, but not the thousands of a part's speakers."""
    yield root
    if depth:
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and not (folder.name.isdigit() and root.name != "1h"):
                yield from _folders(folder, depth - 1)


def _holds_speakers(folder: Path, part: PublishedPart) -> bool:
    """Whether it has folders named after speakers' numbers; a part with labels has them two folders deeper at most."""
    if len(part.folder) > 1:
        return True
    return any(inner.name.isdigit() for inner in sorted(folder.iterdir()) if inner.is_dir())


def _count(folder: Path) -> tuple[int, int]:
    """Audio files and speakers: of `SPEAKER-CHAPTER-NUMBER.flac`, or of the folder SPEAKER/BOOK/CHAPTER.flac is in."""
    files = 0
    speakers: set[str] = set()
    for path in _audio(folder):
        files += 1
        match = LIBRISPEECH_ID.fullmatch(path.stem)
        speakers.add(match[1] if match else path.relative_to(folder).parts[0])
    return files, len(speakers)


def _audio(folder: Path) -> Iterable[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names if name.endswith(".flac"))
