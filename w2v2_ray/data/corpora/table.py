"""Tables that list audio: Common Voice's .tsv, Hugging Face's and LJSpeech's metadata.csv, and their kin."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from w2v2_ray.audio.suffixes import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES
from w2v2_ray.data.corpora.files import is_audio_name, walk_audio
from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.corpora.keys import AUDIO_KEYS, TEXT_FILE_KEYS, TEXT_KEYS, USUAL_KEYS, ChosenKeys, find_key
from w2v2_ray.data.corpora.notes import ListingNotes
from w2v2_ray.data.corpora.rows import RowReader, path_below
from w2v2_ray.errors import DatasetError

SUFFIXES = (".csv", ".tsv", ".psv", ".txt")
_DELIMITERS = {"\t": "tabs", "|": "bars", ",": "commas", ";": "semicolons"}
_AUDIO_FOLDERS = ("", "clips", "wavs", "wav", "audio", "audios", "recordings", "data")
_SAMPLE_LINES = 20
_ID_KEYS = ("id", "utt_id", "utterance_id", "uttid", "clip_id", "segment_id", "file_id")


@dataclass(frozen=True)
class TableShape:
    """How a table is to be read.

    Args:
        delimiter: Between the columns.
        columns: Their names.
        has_header: The first line holds the names.
    """

    delimiter: str
    columns: tuple[str, ...]
    has_header: bool

    @property
    def has_text(self) -> bool:
        """Whether a column holds transcripts."""
        return find_key(dict.fromkeys(self.columns, ""), (*TEXT_KEYS, *TEXT_FILE_KEYS)) is not None

    def __str__(self) -> str:
        header = "a header" if self.has_header else "no header"
        return f"table with {_DELIMITERS[self.delimiter]} and {header}: {', '.join(self.columns)}"


def shape_of(path: Path, chosen: ChosenKeys = USUAL_KEYS) -> TableShape | None:
    """Tell by its first lines how a table is laid out; None if it is none that lists audio."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            sample = [line.rstrip("\r\n") for line in (file.readline(1 << 16) for _ in range(_SAMPLE_LINES)) if line]
    except (OSError, UnicodeDecodeError):
        return None
    sample = [line for line in sample if line.strip()]
    for delimiter in _DELIMITERS:
        rows = [_split(line, delimiter) for line in sample]
        if rows and len(rows[0]) >= 2:
            shape = _with_header(path, rows, delimiter, chosen) or _without_header(path, rows, delimiter)
            if shape is not None:
                return shape
    return None


def read_table(
    path: Path, shape: TableShape, notes: ListingNotes, chosen: ChosenKeys = USUAL_KEYS
) -> Iterator[SourceItem]:
    """Utterances of a table, one a row.

    Raises:
        DatasetError: A row has another number of columns than the first, or cannot be read; the message gives the line.
    """
    find = _Finder(path.parent)
    reader = RowReader(path.parent, chosen, notes, find, audio_keys=(*AUDIO_KEYS, *_ID_KEYS))
    for number, values in _rows(path, shape):
        place = f"{path}:{number}"
        if len(values) != len(shape.columns):
            raise DatasetError(
                f"{place}: has {len(values)} columns, {len(shape.columns)} are wanted ({', '.join(shape.columns)}), "
                f"parted by {_DELIMITERS[shape.delimiter]}; correct the line"
            )
        yield reader.item({name: value or None for name, value in zip(shape.columns, values, strict=True)}, place)


def _rows(path: Path, shape: TableShape) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if shape.delimiter in ",;":
                table = csv.reader(file, delimiter=shape.delimiter, strict=True)
                rows = ((table.line_num, row) for row in table)
            else:
                # Common Voice and LJSpeech quote nothing: a lone quotation mark belongs to the text.
                rows = ((n, _split(line.rstrip("\r\n"), shape.delimiter)) for n, line in enumerate(file, start=1))
            filled = ((number, row) for number, row in rows if any(value.strip() for value in row))
            if shape.has_header:
                next(filled, None)
            yield from filled
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except csv.Error as error:
        raise DatasetError(
            f"{path}: is not a table that can be read ({error}); look for a lone quotation mark"
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error


def _split(line: str, delimiter: str) -> list[str]:
    """The columns of one line."""
    if delimiter in ",;":
        return next(csv.reader([line], delimiter=delimiter), [])
    return [_unquoted(value) for value in line.split(delimiter)]


def _unquoted(value: str) -> str:
    """A value without the quotation marks around it, if those inside are doubled, as spreadsheets write them."""
    inner = value[1:-1]
    if len(value) >= 2 and value[0] == value[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return value


def _with_header(path: Path, rows: Sequence[list[str]], delimiter: str, chosen: ChosenKeys) -> TableShape | None:
    """A first line with a usual name for the audio, or with one for an id that is the name of a file."""
    columns = tuple(name.strip() for name in rows[0])
    header = dict.fromkeys(columns, "")
    if len(header) != len(columns):
        return None
    shape = TableShape(delimiter, columns, True)
    if find_key(header, AUDIO_KEYS, chosen.audio) is not None:
        # `path` alone may be a word of a text: the other columns must look like names too.
        return shape if chosen.audio or all(name.replace("_", "").isalnum() for name in columns if name) else None
    id_key = find_key(header, _ID_KEYS)
    if id_key is None or not shape.has_text or len(rows) < 2 or len(rows[1]) != len(columns):
        return None
    return shape if _Finder(path.parent)(rows[1][columns.index(id_key)]).is_file() else None


def _without_header(path: Path, rows: Sequence[list[str]], delimiter: str) -> TableShape | None:
    """LJSpeech's `id|text|normalised text`, and file lists such as `a.wav|text` or `a.wav|speaker|text`."""
    count = len(rows[0])
    whole = [row for row in rows if len(row) == count]
    if count not in (2, 3) or 2 * len(whole) <= len(rows):
        return None
    names = [row[0].strip() for row in whole]
    named = all(is_audio_name(name) or _suffix(name) in CONVERTIBLE_SUFFIXES for name in names)
    if not named and not (delimiter in "|\t" and _Finder(path.parent)(names[0]).is_file()):
        return None
    columns = _nameless_columns(whole, delimiter)
    return TableShape(delimiter, columns, False) if columns else None


def _nameless_columns(rows: Sequence[list[str]], delimiter: str) -> tuple[str, ...] | None:
    """What the columns after the audio hold, told by where there are words with spaces between them."""
    spaced = [any(" " in row[column].strip() for row in rows) for column in range(1, len(rows[0]))]
    if all(_is_number(row[1]) for row in rows):
        return None  # lengths, not transcripts
    if len(spaced) == 1:
        return ("path", "text")
    if spaced == [False, True]:
        return ("path", "speaker", "text")
    if any(set(row[1].casefold().split()) & set(row[2].casefold().split()) for row in rows) or not all(
        row[2].strip() for row in rows
    ):
        return ("path", "raw_text", "text")  # twice the same text, or the second only where it differs
    return ("path", "text", "speaker") if spaced == [True, False] else None


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


class _Finder:
    """Finds the files that a table names: beside it, or in a folder such as `clips` or `wavs`, with a suffix or not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = ("", "")
        self._by_stem: dict[str, Path] | None = None

    def __call__(self, name: str) -> Path:
        name = name.strip()
        suffixes = ("",) if is_audio_name(name) else ("", *AUDIO_SUFFIXES)
        places = [(below, suffix) for below in _AUDIO_FOLDERS for suffix in suffixes]
        # A table's files mostly lie in one folder: look there first.
        for below, suffix in (self._last, *places):
            path = path_below(self._folder, os.path.join(below, name + suffix))
            if path.is_file() and (is_audio_name(path.name) or _suffix(path.name) in CONVERTIBLE_SUFFIXES):
                self._last = (below, suffix)
                return path
        # An id may be looked for everywhere; a path that leads nowhere must not lead to its namesake elsewhere.
        is_id = not Path(name).suffix and "/" not in name
        return (self._stems().get(name) if is_id else None) or path_below(self._folder, name)

    def _stems(self) -> dict[str, Path]:
        """Audio at any depth by its name without the suffix, where that names one file."""
        if self._by_stem is None:
            found: dict[str, list[Path]] = {}
            for folder in walk_audio(self._folder, ListingNotes()):
                for name in folder.audio:
                    found.setdefault(Path(name).stem, []).append(folder.path / name)
            self._by_stem = {stem: paths[0] for stem, paths in found.items() if len(paths) == 1}
        return self._by_stem


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
