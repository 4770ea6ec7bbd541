"""Counting names without keeping all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

MOST_NAMES = 500_000


class Tally:
    """How often each name was seen, in bounded memory.

    Past `most` different names the rarer half is forgotten, so that a count is then at least the one given: what is
    frequent stays, and what was forgotten was rare.

    Args:
        most: Different names that are kept.
    """

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()
        self._forgot = False

    def add(self, names: Iterable[str]) -> None:
        """Count each once more."""
        self._counts.update(names)
        self._forget()

    def add_times(self, name: str, times: int) -> None:
        """Count one so many times more."""
        self._counts[name] += times
        self._forget()

    def times(self, name: str) -> int:
        """How often this one was seen; 0 when it was forgotten."""
        return self._counts[name]

    @property
    def different(self) -> int | None:
        """Different names; None when there were too many to keep."""
        return None if self._forgot else len(self._counts)

    def most_frequent(self, number: int) -> dict[str, int]:
        """The first ones and their counts, most frequent first, equal ones by name."""
        return dict(sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))[:number])

    def _forget(self) -> None:
        if len(self._counts) > self._most:
            self._counts = Counter(dict(self._counts.most_common(self._most // 2)))
            self._forgot = True
