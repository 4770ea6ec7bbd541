"""Finding audio files: the one listing that `prepare` and `transcribe` share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from w2v2_ray.audio.media_file import reads_media
from w2v2_ray.audio.suffixes import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.schema import INGEST_STATE_NAME, MANIFEST_NAME
from w2v2_ray.errors import DatasetError

TRANSCRIPT_SUFFIXES = (".txt", ".lab", ".trans", ".transcript", ".normalized.txt", ".original.txt")
"""Of files that may hold what is said in the audio of the same name; the first that is there is read."""
ARCHIVE_SUFFIXES = {
    ".zip": "unzip",
    ".tar": "tar -xf",
    ".tgz": "tar -xf",
    ".gz": "tar -xf",
    ".bz2": "tar -xf",
    ".xz": "tar -xf",
    ".zst": "tar -xf",
    ".7z": "7z x",
    ".rar": "unrar x",
}
_NO_AUDIO_SUFFIXES = frozenset(
    (
        *(".txt", ".lab", ".trans", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".md", ".html", ".xml", ".pdf"),
        *(".png", ".jpg", ".jpeg", ".py", ".sh", ".yaml", ".yml", ".ltr", ".wrd", ".phn", ".textgrid", ".stm", ".ctm"),
        *(".srt", ".vtt", ".npy", ".npz", ".pt", ".arrow", ".parquet", *ARCHIVE_SUFFIXES, *CONVERTIBLE_SUFFIXES),
    )
)
"""Of files that need not be opened to see that they are not what libsndfile decodes."""
_MAGIC = (b"RIFF", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b".snd", b"caff", b"NIST_1A")


@dataclass(frozen=True)
class AudioFolder:
    """One folder of a source.

    Args:
        path: The folder.
        audio: Names of its audio files, sorted.
        others: Names of its other files, sorted; hidden ones left out.
    """

    path: Path
    audio: tuple[str, ...]
    others: tuple[str, ...]


def is_audio_name(name: str) -> bool:
    """Whether a file is taken for audio by its name; what FFmpeg reads is where it is installed."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in AUDIO_SUFFIXES or (suffix in CONVERTIBLE_SUFFIXES and reads_media())


def walk_audio(root: Path, notes: ListingNotes) -> Iterator[AudioFolder]:
    """Folders at and below `root`, in an order that depends on names only.

    Linked folders are followed, once. Hidden files, datasets, and what is neither file nor folder are counted as
    passed over; so are folders that may not be read.

    Raises:
        DatasetError: `root` itself cannot be read.
    """
    seen: set[str] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        relative = folder.relative_to(root).as_posix()
        real = os.path.realpath(folder)
        if real in seen:
            notes.passed_over(Passed.CIRCLES, relative)
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise DatasetError(f"{root}: cannot be read ({error.strerror})") from error
            notes.passed_over(Passed.UNREADABLE, relative)
            continue
        names = {entry.name for entry in entries}
        if folder != root and (MANIFEST_NAME in names or INGEST_STATE_NAME in names):
            notes.passed_over(Passed.DATASETS, relative)
            continue
        folders, files = _sorted_out(entries, root, notes)
        waiting.extend(reversed(folders))
        audio = tuple(name for name in files if is_audio_name(name) or _begins_like_audio(folder / name))
        taken = frozenset(audio)
        yield AudioFolder(folder, audio, tuple(name for name in files if name not in taken))


def list_audio(path: Path, notes: ListingNotes) -> list[Path]:
    """Audio files at and below a folder, with a count of what is passed over.

    Raises:
        DatasetError: The folder cannot be read, or holds no audio; the message says what it holds instead.
    """
    found = []
    for folder in walk_audio(path, notes):
        found += [folder.path / name for name in folder.audio]
        for name in folder.others:
            pass_over(folder.path / name, path, notes)
    if not found:
        raise no_audio(path, notes)
    return found


def no_audio(path: Path, notes: ListingNotes) -> DatasetError:
    """The error for a source without audio."""
    if (path / MANIFEST_NAME).is_file():
        return DatasetError(f"{path}: no audio found: this is a dataset already, see `w2v2-ray inspect {path}`")
    held = "".join(f"\n  passed over: {line}" for line in notes.passed_lines())
    return DatasetError(
        f"{path}: no audio found: no audio in this folder; files that count end in {', '.join(AUDIO_SUFFIXES)}{held}"
    )


def pass_over(path: Path, root: Path, notes: ListingNotes) -> None:
    """Count a file that is not used."""
    suffix = path.suffix.lower()
    kind = Passed.CONVERTIBLE if suffix in CONVERTIBLE_SUFFIXES else Passed.OTHER_FILES
    notes.passed_over(kind, suffix or "no suffix", path.relative_to(root).as_posix())


def _sorted_out(entries: list[os.DirEntry[str]], root: Path, notes: ListingNotes) -> tuple[list[Path], list[str]]:
    """Folders and names of files; the rest is counted."""
    folders, files = [], []
    for entry in entries:
        if entry.name.startswith("."):
            kind = "folders" if _is(entry.is_dir) else "._* of macOS" if entry.name.startswith("._") else "files"
            notes.passed_over(Passed.HIDDEN, kind, Path(entry.path).relative_to(root).as_posix())
        elif _is(entry.is_dir):
            folders.append(Path(entry.path))
        elif _is(entry.is_file) or (is_audio_name(entry.name) and not os.path.exists(entry.path)):
            files.append(entry.name)  # a link to audio that is gone will be rejected by its name
        else:
            notes.passed_over(Passed.NOT_FILES, Path(entry.path).relative_to(root).as_posix())
    return folders, files


def _is(question: Callable[[], bool]) -> bool:
    """The answer of a `DirEntry`; a link in a circle is neither file nor folder."""
    try:
        return question()
    except OSError:
        return False


def _begins_like_audio(path: Path) -> bool:
    """Whether a file without a suffix that means anything holds what libsndfile decodes."""
    if path.suffix.lower() in _NO_AUDIO_SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    if head[:4] in (b"RIFF", b"FORM"):
        return head[8:] in (b"WAVE", b"AIFF", b"AIFC")
    return head.startswith(_MAGIC)
