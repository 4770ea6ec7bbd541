"""What `prepare` reads: a LibriSpeech tree, a fairseq/NVIDIA manifest, a NeMo manifest, or a folder of audio.

Every source lists its utterances in an order that depends only on names, and gives each an id of its own.
"""

from __future__ import annotations

import json
import math
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from w2v2_ray.errors import DatasetError

SourceFormat = Literal["librispeech", "manifest", "jsonl", "folder"]
"""`librispeech`: a tree with `*.trans.txt`; `manifest`: `.tsv` of fairseq, with the `.ltr` beside it; `jsonl`: NeMo;
`folder`: audio at any depth, with a `.txt` transcript beside each file or not."""

FORMATS: tuple[SourceFormat, ...] = get_args(SourceFormat)
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_TRANSCRIPTS_SUFFIX = ".trans.txt"
_LIBRISPEECH_ID = re.compile(r"(\d+)-\d+-\d+")
_NOT_SPEAKERS = frozenset(
    {"audio", "audios", "clips", "data", "flac", "mp3", "ogg", "recordings", "segments", "wav", "wavs"}
)


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One utterance to ingest.

    Args:
        id: Unique name.
        path: Absolute path of the audio file.
        source: That path relative to the source, for the record.
        transcript: What is said, where known.
        speaker: Who says it, where known.
        offset_s: Start within the file; None means the whole file.
        duration_s: Length, where the manifest says so.
        frames: Length in samples at the file's rate, where the manifest says so.
        problem: Why the item cannot be used, found while listing; a `reason: detail` as of `AudioError`.
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


def guess_format(source: Path) -> SourceFormat:
    """Tell the format of a source by its suffix or its files.

    Raises:
        DatasetError: It does not exist or is of no known format.
    """
    if source.is_dir():
        is_librispeech = any(name.endswith(_TRANSCRIPTS_SUFFIX) for _, names in _walk(source) for name in names)
        return "librispeech" if is_librispeech else "folder"
    if not source.exists():
        raise DatasetError(f"{source}: there is no such file or folder to prepare")
    if source.suffix == ".tsv":
        return "manifest"
    if source.suffix in (".jsonl", ".json", ".ndjson"):
        return "jsonl"
    raise DatasetError(
        f"{source}: cannot guess the format of a {source.suffix or 'nameless'} file; "
        f"give a folder, a .tsv, a .jsonl, or say --format {'|'.join(FORMATS)}"
    )


def list_items(source: Path, source_format: SourceFormat) -> list[SourceItem]:
    """List the utterances of a source, with unique ids.

    An id that occurs again gets `~2`, `~3`, ... appended.

    Raises:
        DatasetError: The source does not exist, is malformed (the message gives file and line), or holds no audio.
    """
    if not source.exists():
        raise DatasetError(f"{source}: there is no such file or folder to prepare")
    needs_folder = source_format in ("librispeech", "folder")
    if needs_folder != source.is_dir():
        wanted, found = ("a folder", "a file") if needs_folder else ("a file", "a folder")
        raise DatasetError(f"{source}: --format {source_format} reads {wanted}, but this is {found}")
    readers = {"librispeech": _librispeech, "manifest": _manifest, "jsonl": _jsonl, "folder": _folder}
    items = list(_with_unique_ids(readers[source_format](source.absolute())))
    if not items:
        raise DatasetError(
            f"{source}: no audio found with --format {source_format}; "
            f"files that count end in {', '.join(AUDIO_SUFFIXES)}, or are listed in the manifest"
        )
    return items


def _folder(root: Path) -> Iterator[SourceItem]:
    for folder, names in _walk(root):
        present = set(names)
        for name in names:
            path = folder / name
            if path.suffix.lower() in AUDIO_SUFFIXES:
                item = _item_of(path, path.relative_to(root))
                beside = f"{path.stem}.txt"
                yield _with_transcript_file(item, folder / beside) if beside in present else item


def _with_transcript_file(item: SourceItem, path: Path) -> SourceItem:
    try:
        return replace(item, transcript=" ".join(path.read_text(encoding="utf-8-sig").split()))
    except UnicodeDecodeError:
        return replace(item, problem=f"bad_transcript: {path.name} is not UTF-8 text")
    except OSError as error:
        return replace(item, problem=f"bad_transcript: {path.name} cannot be read ({error.strerror})")


def _librispeech(root: Path) -> Iterator[SourceItem]:
    """Utterances of a tree SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac, with their lines of `*.trans.txt`.

    Audio without a line is kept without a transcript; a line without audio is reported as missing by ingest.
    """
    for folder, names in _walk(root):
        transcripts = {}
        for name in names:
            if name.endswith(_TRANSCRIPTS_SUFFIX):
                for number, line in _lines(folder / name):
                    utterance_id, _, text = line.partition(" ")
                    if not utterance_id:
                        raise DatasetError(
                            f"{folder / name}:{number}: a line must be `ID TRANSCRIPT`, this is {line!r}"
                        )
                    transcripts[utterance_id] = text.strip()
        audio = {Path(name).stem: name for name in names if Path(name).suffix.lower() in AUDIO_SUFFIXES}
        for utterance_id in sorted(transcripts.keys() | audio.keys()):
            path = folder / audio.get(utterance_id, f"{utterance_id}.flac")
            item = _item_of(path, path.relative_to(root))
            match = _LIBRISPEECH_ID.fullmatch(utterance_id)
            speaker = match[1] if match else item.speaker
            yield replace(item, id=_text(utterance_id), transcript=transcripts.get(utterance_id), speaker=speaker)


def _manifest(path: Path) -> Iterator[SourceItem]:
    """Utterances of a fairseq `.tsv`: a line with the root folder, then `path<TAB>frames` each.

    A relative root counts from the manifest. The `.ltr` file beside it, where there is one, holds the transcripts as
    letters with `|` between words.
    """
    lines = list(_lines(path, keep_blank=True))
    while lines and not lines[-1][1]:
        lines.pop()
    if not lines or "\t" in lines[0][1]:
        raise DatasetError(f"{path}:1: the first line must be the folder of the audio files")
    root = path.parent / lines[0][1]
    if not root.is_dir():
        raise DatasetError(f"{path}:1: there is no folder {root}; correct the first line (relative to the manifest)")
    transcripts = _letters(path.with_suffix(".ltr"), len(lines) - 1)
    for (number, line), transcript in zip(lines[1:], transcripts, strict=True):
        name, tab, frames = line.partition("\t")
        if not tab or not name or not frames.strip().isdecimal():
            raise DatasetError(f"{path}:{number}: a line must be `path<TAB>number of samples`, this is {line!r}")
        item = _item_of(root / name, Path(name))
        yield replace(item, transcript=transcript, frames=int(frames))


def _letters(path: Path, count: int) -> list[str | None]:
    if not path.exists():
        return [None] * count
    lines = [line for _, line in _lines(path, keep_blank=True)]
    if len(lines) != count:
        raise DatasetError(f"{path}: has {len(lines)} transcripts for the {count} files of the .tsv beside it")
    tokens = [line.split() for line in lines]
    if any(_is_unit(token) for line in tokens for token in line):
        # Phones or words: what stands apart stays apart.
        return [" ".join(token for token in line if token != "|") for line in tokens]
    return [" ".join("".join(line).replace("|", " ").split()) for line in tokens]


def _is_unit(token: str) -> bool:
    """Whether a token is more than a letter, so that its file is none of letters."""
    if token.startswith("<") and token.endswith(">"):
        return False
    composed = unicodedata.normalize("NFC", token)
    return sum(not unicodedata.combining(character) for character in composed) > 1 and "|" not in token


def _jsonl(path: Path) -> Iterator[SourceItem]:
    """Utterances of a NeMo manifest: `audio_filepath` (relative to it), `text`, `duration`, `offset`, `speaker`."""
    for number, line in _lines(path):
        place = f"{path}:{number}"
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{place}: is not JSON ({error})") from None
        if not isinstance(entry, dict) or not isinstance(entry.get("audio_filepath"), str):
            raise DatasetError(f"{place}: must be an object with the string `audio_filepath`")
        offset_s, duration_s = _seconds(entry, "offset", place), _seconds(entry, "duration", place)
        audio = Path(os.path.normpath(path.parent / entry["audio_filepath"]))
        inside = audio.is_relative_to(path.parent)
        item = _item_of(audio, audio.relative_to(path.parent) if inside else audio.relative_to(audio.anchor))
        text, speaker = entry.get("text"), entry.get("speaker")
        if text is not None and not isinstance(text, str):
            raise DatasetError(f"{place}: `text` must be a string, this is {text!r}")
        yield replace(
            item,
            # Segments of one long recording are told apart by where they start.
            id=item.id if offset_s is None else f"{item.id}@{round(offset_s * 1000)}ms",
            transcript=text,
            speaker=item.speaker if speaker is None else str(speaker),
            offset_s=offset_s,
            duration_s=duration_s,
        )


def _seconds(entry: dict[str, Any], key: str, place: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise DatasetError(f"{place}: `{key}` must be a number of seconds, 0 or more, this is {value!r}")
    return float(value)


def _item_of(path: Path, relative: Path) -> SourceItem:
    source = _text(relative.as_posix())
    without_suffix = source[: len(source) - len(relative.suffix)] if relative.suffix else source
    return SourceItem(without_suffix, str(path), source, speaker=_speaker_of(relative))


def _speaker_of(relative: Path) -> str | None:
    """Guess from the LibriSpeech form of a name, or take the folder's name."""
    match = _LIBRISPEECH_ID.fullmatch(relative.stem)
    if match:
        return match[1]
    folder = relative.parent.name
    return _text(folder) if folder and folder.lower() not in _NOT_SPEAKERS else None


def _text(name: str) -> str:
    """A file name as valid Unicode: names that are not UTF-8 would not fit an Arrow string."""
    return os.fsencode(name).decode("utf-8", "replace")


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders below `root` with their file names, sorted; linked folders are followed, loops are not."""
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(folder), sorted(name for name in names if not name.startswith("."))


def _lines(path: Path, *, keep_blank: bool = False) -> Iterator[tuple[int, str]]:
    """Lines of a text file with their numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, start=1):
                line = line.rstrip("\r\n")
                if keep_blank or line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error


def _with_unique_ids(items: Iterator[SourceItem]) -> Iterator[SourceItem]:
    seen: set[str] = set()
    for item in items:
        utterance_id, copies = item.id, 1
        while utterance_id in seen:
            copies += 1
            utterance_id = f"{item.id}~{copies}"
        seen.add(utterance_id)
        yield item if utterance_id == item.id else replace(item, id=utterance_id)
