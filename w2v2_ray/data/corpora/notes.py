"""What was noticed while a source was listed: what was read from where, and what was passed over."""

from __future__ import annotations

from collections import Counter, defaultdict
from enum import StrEnum
from typing import Any

_EXAMPLES = 3


class Passed(StrEnum):
    """Kinds of things that a source holds and that are not used."""

    CONVERTIBLE = "audio to convert"
    OTHER_FILES = "files of other types"
    HIDDEN = "hidden files and folders"
    UNREADABLE = "folders that cannot be read"
    CIRCLES = "linked folders that were read already"
    NOT_FILES = "broken links and special files"
    DATASETS = "datasets"
    WITHOUT_AUDIO = "text files without audio beside them"
    WITHOUT_SUPERVISION = "recordings of which nothing is said"
    OTHER_TEXTS = "second transcripts of a file"
    TIMED_TEXTS = "labels with times"
    EMPTY_TEXTS = "empty transcripts"
    TEXTS_OF_MANIFEST = "files of labels beside the manifest"
    TWINS = "second files of one name"
    TABLES = "lists of audio"
    KEYS = "values of other keys"
    TEXT_KEYS = "values of keys that look like a transcript"


_ADVICE = {
    Passed.CONVERTIBLE: "libsndfile cannot decode them; pip install 'w2v2-ray[media]' to read them, or convert them: "
    'for f in *{0}; do ffmpeg -i "$f" -ac 1 -ar 16000 "${{f%.*}}.flac"; done',
    Passed.UNREADABLE: "permission is missing: chmod -R u+rX",
    Passed.WITHOUT_AUDIO: "a transcript stands beside its audio under the same name (a.wav, a.txt), or in a table",
    Passed.TABLES: "to read one, give it as the SOURCE",
    Passed.TEXT_KEYS: "if it is what was said, take it: --text-key {0}",
}


class ListingNotes:
    """Counts what a listing reads and what it passes over.

    Attributes:
        read_from: How many times each place gave something: `transcripts from .txt`, `speakers from client_id`.
        passed: For each kind of thing passed over, how many of each name.
        examples: The first few of each kind, relative to the source.
    """

    def __init__(self) -> None:
        self.read_from: Counter[str] = Counter()
        self.passed: dict[Passed, Counter[str]] = defaultdict(Counter)
        self.examples: dict[Passed, list[str]] = defaultdict(list)

    def read(self, what: str) -> None:
        """Count one thing that was read."""
        self.read_from[what] += 1

    def passed_over(self, kind: Passed, name: str, example: str | None = None) -> None:
        """Count one thing that is not used; `name` is what is counted together, such as a suffix."""
        self.passed[kind][name] += 1
        if example is not None and len(self.examples[kind]) < _EXAMPLES:
            self.examples[kind].append(example)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, in an order that depends on the content only."""
        return {
            "read_from": dict(_ordered(self.read_from)),
            "passed_over": {
                kind.value: {"count": self.passed[kind].total(), "names": dict(_ordered(self.passed[kind]))}
                | ({"examples": self.examples[kind]} if self.examples[kind] else {})
                for kind in Passed
                if self.passed[kind]
            },
        }

    def read_lines(self) -> list[str]:
        """One line for each kind of thing that was read: `transcripts from .txt (12), .lab (3)`."""
        places: dict[str, list[str]] = defaultdict(list)
        for what, count in _ordered(self.read_from):
            noun, _, place = what.partition(" from ")
            places[noun].append(f"{place} ({count:,})")
        return [f"{noun} from {', '.join(found)}" for noun, found in places.items()]

    def passed_lines(self) -> list[str]:
        """One line for each kind passed over, with what to do about it."""
        return [self._line(kind) for kind in Passed if self.passed[kind]]

    def _line(self, kind: Passed) -> str:
        counts = _ordered(self.passed[kind])
        names = ", ".join(f"{name} {count:,}" if count > 1 else name for name, count in counts[:8])
        more = ", ..." if len(counts) > 8 else ""
        shown = [example for example in self.examples[kind] if example not in self.passed[kind]]
        examples = f"; such as {', '.join(shown)}" if shown else ""
        advice = _ADVICE.get(kind)
        remedy = f". {advice.format(counts[0][0])}" if advice else ""
        return f"{self.passed[kind].total():,} {kind.value} ({names}{more}{examples}){remedy}"


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """Most frequent first, then by name."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
