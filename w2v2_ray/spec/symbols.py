"""Names of the symbols that every recogniser has, as fairseq's dictionaries name them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

BLANK = "<s>"
"""The CTC blank; output 0."""
UNKNOWN = "<unk>"
"""Stands for characters outside the vocabulary."""
SPECIALS = (BLANK, "<pad>", "</s>", UNKNOWN)
"""With which every fairseq dictionary begins; its text leaves them out."""
WORD_DELIMITER = "|"
"""Ends a word."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp", "Mn", "Me"})
"""Unicode categories of characters that leave nothing, or nothing of their own, on a terminal."""


def visible(symbol: str) -> str:
    """A symbol as it can be shown: characters that one would not see as U+XXXX with their name."""
    return "".join(
        f"<U+{ord(character):04X}{_name(character)}>" if unicodedata.category(character) in _HIDDEN else character
        for character in symbol
    )


def _name(character: str) -> str:
    name = unicodedata.name(character, "")
    return f" {name}" if name else ""


def are_tokens(vocabulary: Iterable[str]) -> bool:
    """Whether every symbol is a unit of its own, such as a phone or a word: nothing ends a word, and some are long."""
    symbols = [symbol for symbol in vocabulary if symbol not in SPECIALS]
    return WORD_DELIMITER not in symbols and any(len(symbol) > 1 for symbol in symbols)
