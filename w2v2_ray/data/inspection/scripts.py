"""In which scripts a text is written, by Unicode's names of its characters."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping

_WIDTHS = {"FULLWIDTH", "HALFWIDTH"}


def script_of(symbol: str) -> str:
    """The first word of a letter's or mark's name (`LATIN`, `CYRILLIC`, `CJK`), and in small letters what it is else.

    Python's Unicode has no scripts; the names begin with one, but for a few signs of several (`COMBINING`,
    `MODIFIER`).
    """
    kind = unicodedata.category(symbol)[0]
    if kind == "Z" or symbol.isspace():
        return "spaces"
    if kind == "N":
        return "digits"
    if kind not in "LM":
        return "other signs"
    words = unicodedata.name(symbol, "unnamed").split()
    return words[1] if words[0] in _WIDTHS and len(words) > 1 else words[0]


def scripts_of(symbols: Mapping[str, int]) -> dict[str, int]:
    """Characters of each script, most frequent first.

    Args:
        symbols: Characters, how many of each.
    """
    found: Counter[str] = Counter()
    for symbol, count in symbols.items():
        found[script_of(symbol)] += count
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
