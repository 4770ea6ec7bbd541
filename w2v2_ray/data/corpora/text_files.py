"""Transcripts in a file of their own beside the audio."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from w2v2_ray.data.corpora.files import TRANSCRIPT_SUFFIXES
from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.corpora.notes import ListingNotes, Passed

_TIMED_LINE = re.compile(r"\s*(\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s+\S+")
_LEAST_SAMPLES = 1000


class TranscriptsBeside:
    """The transcript files of one folder.

    Args:
        folder: The folder.
        names: Names of its files that are no audio.

    Attributes:
        taken: Names of the files that belong to audio, read or not.
    """

    def __init__(self, folder: Path, names: Collection[str]) -> None:
        self._folder = folder
        self._by_lower: Mapping[str, list[str]] = _grouped(names)
        self._exact = frozenset(names)
        self.taken: set[str] = set()

    def of(self, item: SourceItem, audio: str, notes: ListingNotes) -> SourceItem:
        """The utterance of an audio file, with the transcript of the first file found beside it."""
        found = self._found(audio)
        self.taken.update(found)
        chosen = None
        for name in found:
            suffix, shown = _suffix(name, audio), (Path(item.source).parent / name).as_posix()
            if chosen is not None:
                notes.passed_over(Passed.OTHER_TEXTS, suffix, shown)
                continue
            text, problem = _read(self._folder / name)
            source = suffix
            if text is not None and _is_timed(text):
                text, source = _sentence(text) if suffix.lower() == ".txt" else None, f"{suffix} with times"
                if text is None:
                    notes.passed_over(Passed.TIMED_TEXTS, suffix, shown)
                    continue
            chosen = _with_text(item, text, problem)
            notes.read(f"transcripts from {source}")
            if chosen.transcript == "":
                notes.passed_over(Passed.EMPTY_TEXTS, suffix, shown)
        return chosen or item

    def leave(self, item: SourceItem, audio: str, notes: ListingNotes) -> None:
        """Count the files beside audio whose transcript is known from elsewhere."""
        for name in self._found(audio):
            self.taken.add(name)
            notes.passed_over(Passed.OTHER_TEXTS, _suffix(name, audio), (Path(item.source).parent / name).as_posix())

    def _found(self, audio: str) -> list[str]:
        """Files beside `a.wav` that may be its transcript, best first: `a.txt`, `a.TXT`, `a.lab`, ..., `a.wav.txt`."""
        stem = Path(audio).stem
        found: list[str] = []
        for wanted in (*(stem + suffix for suffix in TRANSCRIPT_SUFFIXES), f"{audio}.txt"):
            if wanted in self._exact:
                found.append(wanted)
            else:
                # Only the suffix may be written otherwise: A.txt is not the transcript of a.wav.
                found += [name for name in self._by_lower.get(wanted.lower(), ()) if name.startswith(stem)]
        return found


def with_transcript_file(item: SourceItem, path: Path) -> SourceItem:
    """The utterance with the text of a file, or with the problem that keeps it from being read."""
    return _with_text(item, *_read(path))


def is_transcript_name(name: str) -> bool:
    """Whether a file may be a transcript, by its name."""
    return name.lower().endswith(TRANSCRIPT_SUFFIXES)


def _read(path: Path) -> tuple[str | None, str | None]:
    """The text of a file, or why there is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            return None, f"bad_transcript: {path.name} holds zero bytes, which no text does; convert it from UTF-16?"
        return text, None
    except UnicodeDecodeError:
        return None, f"bad_transcript: {path.name} is not UTF-8 text"
    except OSError as error:
        return None, f"bad_transcript: {path.name} cannot be read ({error.strerror})"


def _with_text(item: SourceItem, text: str | None, problem: str | None) -> SourceItem:
    if text is None:
        return replace(item, problem=problem)
    return replace(item, transcript=" ".join(text.split()))


def _is_timed(text: str) -> bool:
    """Whether every line is `start end label`, from 0 on, as HTK and TIMIT write phones, words and sentences.

    A transcript that begins with two numbers is none: times are in samples or in units of 100 ns, so they are large.
    """
    lines = [_TIMED_LINE.match(line) for line in text.splitlines() if line.strip()]
    if not lines or not all(lines):
        return False
    times = [(float(line[1]), float(line[2])) for line in lines if line is not None]
    ordered = all(start < end for start, end in times) and times == sorted(times)
    return ordered and times[0][0] == 0 and (len(times) > 1 or times[0][1] >= _LEAST_SAMPLES)


def _sentence(text: str) -> str | None:
    """The words of TIMIT's only line, `0 46797 She had your dark suit ...`; None where there are several."""
    lines = [line for line in text.splitlines() if line.strip()]
    return " ".join(lines[0].split()[2:]) if len(lines) == 1 else None


def _suffix(name: str, audio: str) -> str:
    return name[len(Path(audio).stem) :]


def _grouped(names: Collection[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name in sorted(names):
        grouped.setdefault(name.lower(), []).append(name)
    return grouped
