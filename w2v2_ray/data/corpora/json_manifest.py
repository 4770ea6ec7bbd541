"""Lists of audio in JSON: NeMo's manifests, Hugging Face's metadata.jsonl, and their kin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.corpora.keys import AUDIO_KEYS, USUAL_KEYS, ChosenKeys, find_key
from w2v2_ray.data.corpora.notes import ListingNotes
from w2v2_ray.data.corpora.rows import RowReader
from w2v2_ray.data.corpora.text_lines import numbered_lines, open_text
from w2v2_ray.errors import DatasetError

SUFFIXES = (".jsonl", ".json", ".ndjson")


def read_json_manifest(path: Path, notes: ListingNotes, chosen: ChosenKeys = USUAL_KEYS) -> Iterator[SourceItem]:
    """Utterances of a file with one JSON object a line, or with one array of objects.

    NeMo's keys are `audio_filepath` (relative to the file), `text`, `duration`, `offset`, `speaker`; other usual names
    are known too, and what was taken is noted.

    Raises:
        DatasetError: It is not JSON, or a line lacks the audio; the message gives file and line.
    """
    reader = RowReader(path.parent, chosen, notes)
    for place, entry in entries_of(path):
        if not isinstance(entry, dict):
            raise DatasetError(f"{place}: must be an object with the string `audio_filepath`")
        yield reader.item(entry, place)


def keys_of(path: Path) -> dict[str, Any] | None:
    """The first entry of a JSON file that lists audio; None if it is none."""
    try:
        _, entry = next(entries_of(path), ("", None))
    except DatasetError:
        return None
    return entry if isinstance(entry, dict) and find_key(entry, AUDIO_KEYS) is not None else None


def entries_of(path: Path) -> Iterator[tuple[str, Any]]:
    """Entries with their place for messages.

    Raises:
        DatasetError: It cannot be read or is not JSON; the message gives file and line.
    """
    lines = numbered_lines(path)
    first = next(lines, None)
    if first is None:
        return
    if first[1].lstrip().startswith("["):
        try:
            with open_text(path) as file:
                entries = json.load(file)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path}:1: is not JSON ({error}); give one object a line, or one array") from None
        yield from ((f"{path}: entry {number}", entry) for number, entry in enumerate(entries, start=1))
        return
    yield _parsed(path, *first)
    for number, line in lines:
        yield _parsed(path, number, line)


def _parsed(path: Path, number: int, line: str) -> tuple[str, Any]:
    place = f"{path}:{number}"
    try:
        return place, json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{place}: is not JSON ({error}); give one object a line, or one array") from None
