"""One row of a list of audio (a line of JSON, a line of a table) to an utterance."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2v2_ray.data.corpora.item import SourceItem, item_at, item_below, writable
from w2v2_ray.data.corpora.keys import (
    AUDIO_KEYS,
    DURATION_KEYS,
    END_KEYS,
    OFFSET_KEYS,
    SPEAKER_KEYS,
    TEXT_FILE_KEYS,
    TEXT_KEYS,
    ChosenKeys,
    find_key,
    in_milliseconds,
    looks_like_text,
    place_in_samples,
)
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.corpora.text_files import with_transcript_file
from w2v2_ray.errors import DatasetError
from w2v2_ray.places.stores import is_uri

_LONGEST_S = 366 * 86_400.0

Row = Mapping[str, Any]
Resolver = Callable[[str], Path]
"""Finds the file that a row names."""


class RowReader:
    """Turns rows into utterances and notes which keys it took.

    Args:
        folder: Where relative paths count from.
        chosen: Keys that the user names.
        notes: Where to count.
        resolve: Finds the file that a row names; by default below `folder`.
        audio_keys: Usual names of the audio's path.
    """

    def __init__(
        self,
        folder: Path,
        chosen: ChosenKeys,
        notes: ListingNotes,
        resolve: Resolver | None = None,
        audio_keys: Sequence[str] = AUDIO_KEYS,
    ) -> None:
        self._audio_keys = audio_keys
        self._folder = folder
        self._chosen = chosen
        self._notes = notes
        self._resolve = resolve or (lambda name: path_below(folder, name))

    def item(self, row: Row, place: str) -> SourceItem:
        """The utterance of a row.

        Args:
            row: Values by key.
            place: File and line, for messages.

        Raises:
            DatasetError: The row names no audio, or a value cannot be what its key says.
        """
        audio_key, name = self._audio(row, place)
        item = item_at(name) if is_uri(name) else item_below(self._resolve(name), self._folder)
        offset_s, duration_s, time_keys = _part(row, place)
        speaker_key = find_key(row, SPEAKER_KEYS, self._chosen.speaker)
        speaker = None if speaker_key is None else writable(str(row[speaker_key]).strip())
        item = replace(
            item,
            # Segments of one long recording are told apart by where they start.
            id=item.id if offset_s is None else f"{item.id}@{round(offset_s * 1000)}ms",
            speaker=speaker or item.speaker,
            offset_s=offset_s,
            duration_s=duration_s,
            problem="too_short: the list gives it 0 s" if duration_s == 0 else item.problem,
        )
        item, text_key = self._with_text(item, row, place)
        self._note(row, text_key, speaker_key if speaker else None, {audio_key, *time_keys})
        return item

    def _audio(self, row: Row, place: str) -> tuple[str, str]:
        key = find_key(row, self._audio_keys, self._chosen.audio)
        value = row[key] if key is not None else None
        if isinstance(value, dict):  # an `Audio` column of Hugging Face
            value = value.get("path")
        if key is None or not isinstance(value, str) or not value.strip():
            wanted = self._chosen.audio or "audio_filepath"
            raise DatasetError(
                f"{place}: must have the string `{wanted}`, the path of the audio; this has "
                f"{', '.join(f'`{name}`' for name in row) or 'nothing'} (--audio-key NAME says which it is)"
            )
        if "\0" in value or writable(value) != value:
            raise DatasetError(f"{place}: `{key}` is no path: {ascii(value)[:80]}")
        return key, value.strip()

    def _with_text(self, item: SourceItem, row: Row, place: str) -> tuple[SourceItem, str | None]:
        key = find_key(row, TEXT_KEYS, self._chosen.text)
        if key is None or row[key] is None:
            file_key = find_key(row, TEXT_FILE_KEYS)
            if file_key is None or not isinstance(row[file_key], str) or not row[file_key]:
                return item, None
            return with_transcript_file(item, path_below(self._folder, row[file_key])), file_key
        text = row[key]
        if not isinstance(text, str):
            raise DatasetError(f"{place}: `{key}` must be a string, this is {text!r}")
        return replace(item, transcript=writable(text)), key

    def _note(self, row: Row, text_key: str | None, speaker_key: str | None, others: set[str]) -> None:
        """Count which keys were read, and which were not."""
        if text_key is not None:
            self._notes.read(f"transcripts from `{text_key}`")
            if isinstance(row[text_key], str) and not row[text_key].strip():
                self._notes.passed_over(Passed.EMPTY_TEXTS, f"`{text_key}`")
        if speaker_key is not None:
            self._notes.read(f"speakers from `{speaker_key}`")
        for key, value in row.items():
            if key in others or key in (text_key, speaker_key) or value is None or value == "":
                continue
            kind = Passed.TEXT_KEYS if text_key is None and looks_like_text(value) else Passed.KEYS
            self._notes.passed_over(kind, key)


def with_fields(
    item: SourceItem, fields: Row, notes: ListingNotes, chosen: ChosenKeys
) -> tuple[SourceItem, frozenset[str]]:
    """The utterance of an entry that holds its audio, with what its fields say, and the keys that were taken."""
    text_key, speaker_key = find_key(fields, TEXT_KEYS, chosen.text), find_key(fields, SPEAKER_KEYS, chosen.speaker)
    text = None if text_key is None else fields[text_key]
    if isinstance(text, str):
        notes.read(f"transcripts from `{text_key}`")
        if not text.strip():
            notes.passed_over(Passed.EMPTY_TEXTS, f"`{text_key}`")
        item = replace(item, transcript=writable(text))
    if speaker_key is not None:
        notes.read(f"speakers from `{speaker_key}`")
        item = replace(item, speaker=writable(str(fields[speaker_key])))
    return item, frozenset(key for key in (text_key, speaker_key) if key is not None)


def path_below(folder: Path, name: str) -> Path:
    """The absolute path of a file that a list names; backslashes of Windows count as slashes where that finds it."""
    path = Path(os.path.normpath(folder / name))
    if "\\" in name and not path.exists():
        turned = Path(os.path.normpath(folder / name.replace("\\", "/")))
        return turned if turned.exists() else path
    return path


def _part(row: Row, place: str) -> tuple[float | None, float | None, set[str]]:
    """Offset and duration of a row, and the keys that gave them."""
    (offset_key, offset_s), (end_key, end_s), (duration_key, duration_s) = (
        _time(row, usual, place) for usual in (OFFSET_KEYS, END_KEYS, DURATION_KEYS)
    )
    keys = {key for key in (offset_key, end_key, duration_key) if key is not None}
    counted = place_in_samples(row)
    if counted is not None and offset_s is None:
        raise DatasetError(
            f"{place}: `{counted}` counts samples or frames, of which the rate is not known; write `offset` and "
            "`duration` in seconds"
        )
    if end_s is not None:
        offset_s = offset_s or 0.0
        if end_s <= offset_s:
            raise DatasetError(f"{place}: `{end_key}` is {end_s:g} s, which is not after the start, {offset_s:g} s")
        if duration_s is None:
            duration_s = end_s - offset_s
        elif abs(offset_s + duration_s - end_s) > 0.1:
            raise DatasetError(
                f"{place}: `{end_key}` is {end_s:g} s, but with `{duration_key}` it ends at {offset_s + duration_s:g} s"
            )
    return offset_s, duration_s, keys


def _time(row: Row, usual: Sequence[str], place: str) -> tuple[str | None, float | None]:
    """A time in seconds and the key that says it, in seconds or in milliseconds."""
    key = find_key(row, usual)
    if key is not None:
        return key, _seconds(row[key], key, place, 1.0)
    key = find_key(row, in_milliseconds(usual))
    return (key, None) if key is None else (key, _seconds(row[key], key, place, 1e-3))


def _seconds(value: Any, key: str, place: str, unit_s: float) -> float | None:
    if value is None or value == "":
        return None
    number = _number(value)
    unit = "seconds" if unit_s == 1 else "milliseconds"
    if number is None or not math.isfinite(number) or number < 0:
        raise DatasetError(f"{place}: `{key}` must be a number of {unit}, 0 or more, this is {repr(value)[:60]}")
    if number * unit_s > _LONGEST_S:
        raise DatasetError(f"{place}: `{key}` is {number:g} {unit}, more than a year; correct it")
    return number * unit_s


def _number(value: Any) -> float | None:
    """A number, also one that is written as text, as all are in a table."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
