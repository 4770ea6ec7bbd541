"""CMU Sphinx's training folders, AN4's own form: `etc/NAME.fileids` and `etc/NAME.transcription`.

https://cmusphinx.github.io/wiki/tutorialam/. A line of the transcription is `<s> WORDS </s> (utterance)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from w2v2_ray.audio.suffixes import AUDIO_SUFFIXES
from w2v2_ray.data.corpora.files import pass_over, walk_audio
from w2v2_ray.data.corpora.item import SourceItem, item_of, valid_text
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.corpora.rows import path_below
from w2v2_ray.data.corpora.text_lines import numbered_lines
from w2v2_ray.errors import DatasetError

_IDS_SUFFIX, _TEXTS_SUFFIX = ".fileids", ".transcription"
_LINE = re.compile(r"(?:<s>\s*)?(.*?)\s*(?:</s>\s*)?\(([^()\s]+)\)\s*")
_SECOND_WORD = re.compile(r"\(\d+\)")
"""`READ(2)` is another way to say READ."""
_FILLER = re.compile(r"\s*(?:<[^<>\s]+>|\+\+[^+\s]+\+\+)\s*")


def find_lists(root: Path) -> list[Path]:
    """The lists of utterances of a training folder; none where it is none."""
    return sorted(
        path
        for folder in (root, root / "etc")
        if folder.is_dir()
        for path in folder.glob(f"*{_IDS_SUFFIX}")
        if path.with_suffix(_TEXTS_SUFFIX).is_file()
    )


def read_sphinx(root: Path, notes: ListingNotes) -> Iterator[SourceItem]:
    """Utterances of all lists of a folder, in their order; noises and silences of a transcription are left out.

    Raises:
        DatasetError: A line is malformed, or the files of a list do not agree.
    """
    audio = _Audio(root)
    lists = find_lists(root)
    for ids in lists:
        texts_path = ids.with_suffix(_TEXTS_SUFFIX)
        names = [line.strip() for _, line in numbered_lines(ids)]
        lines = list(numbered_lines(texts_path))
        if len(names) != len(lines):
            raise DatasetError(
                f"{texts_path}: has {len(lines)} transcripts for the {len(names)} utterances of {ids.name}"
            )
        for name, (number, line) in zip(names, lines, strict=True):
            found = _LINE.fullmatch(line)
            if found is None:
                raise DatasetError(f"{texts_path}:{number}: a line must be `<s> WORDS </s> (ID)`, this is {line!r}")
            if found[2] not in (name, Path(name).name):
                raise DatasetError(f"{texts_path}:{number}: is of {found[2]}, but {ids.name} has {name} there")
            path = audio.of(name)
            item = item_of(path, path.relative_to(root))
            text = _FILLER.sub(" ", _SECOND_WORD.sub("", found[1])).strip()
            notes.read(f"transcripts from {_TEXTS_SUFFIX}")
            if not text:
                notes.passed_over(Passed.EMPTY_TEXTS, texts_path.name)
            yield replace(item, id=valid_text(Path(name).name), transcript=" ".join(text.split()))
    used = {*lists, *(path.with_suffix(_TEXTS_SUFFIX) for path in lists)}
    for path in sorted(path for folder in (root, root / "etc") if folder.is_dir() for path in folder.iterdir()):
        if path.is_file() and path not in used:
            pass_over(path, root, notes)


class _Audio:
    """Finds the audio of an utterance: below `wav/`, or wherever a file of that name ends so."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._by_end: dict[str, Path] | None = None

    def of(self, name: str) -> Path:
        for suffix in ("", *AUDIO_SUFFIXES):
            path = path_below(self._root, f"wav/{name}{suffix}")
            if path.is_file():
                return path
        if self._by_end is None:
            self._by_end = {}
            for folder in walk_audio(self._root, ListingNotes()):
                for file in folder.audio:
                    self._by_end.setdefault(Path(file).stem, folder.path / file)
        return self._by_end.get(Path(name).name, path_below(self._root, f"wav/{name}.wav"))
