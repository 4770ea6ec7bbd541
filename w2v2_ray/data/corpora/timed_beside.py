"""Transcripts with times in a folder of audio: beside a recording, or in a list of many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from w2v2_ray.data.corpora.files import AudioFolder
from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.corpora.timed_files import (
    LIST_SUFFIXES,
    SUBTITLE_SUFFIXES,
    read_list,
    read_subtitles,
    read_voice_activity,
)
from w2v2_ray.data.corpora.timed_texts import TimedText, utterances
from w2v2_ray.data.piece_settings import PieceSettings

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]+)*", re.IGNORECASE)


class TimedTranscripts:
    """Everything with times below a folder.

    Recordings with such a transcript are cut by it; where a file has a transcript without times, only if recordings
    are cut anyway. Times without texts (RTTM, Libri-light) cut only then, and name the speaker otherwise.

    Args:
        lists: Files that name recordings.
        pieces: How recordings are cut; None where they are not.

    Attributes:
        lists: The same.

    Raises:
        DatasetError: A line of a list is malformed.
    """

    def __init__(self, lists: Iterable[Path], pieces: PieceSettings | None) -> None:
        self._pieces = pieces
        self._listed: dict[str, tuple[str, list[TimedText]]] = {}
        self._found: set[str] = set()
        self.lists = frozenset(lists)
        for path in sorted(self.lists):
            self._add_list(path)

    @classmethod
    def within(cls, folders: Iterable[AudioFolder], pieces: PieceSettings | None) -> TimedTranscripts:
        """Those of folders of audio."""
        return cls((folder.path / name for folder in folders for name in folder.others if _is_list(name)), pieces)

    @classmethod
    def beside(cls, audio: Path, others: Sequence[str], pieces: PieceSettings | None) -> TimedTranscripts:
        """Those of one audio file: lists of its own name."""
        return cls((audio.parent / name for name in others if _is_list(name) and Path(name).stem == audio.stem), pieces)

    def of(
        self, whole: SourceItem, audio: Path, others: Sequence[str], notes: ListingNotes
    ) -> tuple[str | None, list[SourceItem]]:
        """The utterances of a recording, and the name of the file beside it that was read or passed over.

        Args:
            whole: The recording, with the transcript without times where it has one.
            audio: Its file.
            others: Names of the files in its folder that are no audio.
            notes: Where to count.
        """
        name, suffix, texts, problem = self._texts(audio, others)
        if problem is not None and whole.transcript is None:
            return name, [replace(whole, problem=problem)]
        if not texts:
            if name is not None:
                notes.passed_over(Passed.TIMED_TEXTS, suffix)
            whole, beside = self._libri_light(whole, audio, others, notes)
            if not beside or self._pieces is None or whole.transcript is not None:
                return name, [whole]
            notes.read("times from .json")
            return name, list(utterances(whole, beside, self._pieces))
        has_words = any(text.text is not None for text in texts)
        has_better = whole.transcript is not None and (self._pieces is None or not has_words)
        if has_better or (self._pieces is None and not has_words):
            notes.passed_over(Passed.TIMED_TEXTS, suffix)
            return name, [whole]
        parts = list(utterances(replace(whole, transcript=None), texts, self._pieces))
        for _ in parts:
            notes.read(f"{'transcripts' if has_words else 'times'} from {suffix}")
        return name, parts

    def note_missing(self, notes: ListingNotes) -> None:
        """Count the recordings that lists name and that are not there."""
        for recording, (suffix, _) in self._listed.items():
            if recording not in self._found:
                notes.passed_over(Passed.WITHOUT_AUDIO, suffix, recording)

    def _add_list(self, path: Path) -> None:
        for recording, texts in read_list(path).items():
            known = self._listed.get(recording)
            # Words win over turns, whichever file comes first.
            if known is None or (known[1][0].text is None and texts[0].text is not None):
                self._listed[recording] = (path.suffix.lower(), texts)

    def _texts(self, audio: Path, others: Sequence[str]) -> tuple[str | None, str, list[TimedText], str | None]:
        beside = next(_beside(audio, others), None)
        listed = self._listed.get(audio.stem)
        if listed is not None:
            self._found.add(audio.stem)
        if beside is None:
            return (None, *listed, None) if listed is not None else (None, "", [], None)
        suffix = Path(beside).suffix.lower()
        try:
            return beside, suffix, read_subtitles(audio.parent / beside), None
        except ValueError as error:
            return beside, suffix, [], f"bad_transcript: {error}"

    def _libri_light(
        self, whole: SourceItem, audio: Path, others: Sequence[str], notes: ListingNotes
    ) -> tuple[SourceItem, list[TimedText]]:
        """The recording with its speaker, and its times, where Libri-light's JSON lies beside it."""
        if f"{audio.stem}.json" not in others:
            return whole, []
        speaker, turns = read_voice_activity(audio.with_suffix(".json"))
        if speaker is None:
            return whole, turns
        notes.read("speakers from .json")
        return replace(whole, speaker=speaker), turns


def _is_list(name: str) -> bool:
    return name.lower().endswith(LIST_SUFFIXES)


def _beside(audio: Path, others: Sequence[str]) -> Iterator[str]:
    """Subtitles and TextGrids of a recording: `a.srt`, `a.wav.srt`, `a.en.vtt`."""
    for name in others:
        stem, suffix = Path(name).stem, Path(name).suffix.lower()
        if suffix not in SUBTITLE_SUFFIXES:
            continue
        if stem in (audio.stem, audio.name) or (
            stem.startswith(f"{audio.stem}.") and _LANGUAGE.fullmatch(stem[len(audio.stem) + 1 :])
        ):
            yield name
