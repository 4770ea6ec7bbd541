"""Names of the symbols that every recogniser has, as fairseq's dictionaries name them."""

from __future__ import annotations

BLANK = "<s>"
"""The CTC blank; output 0."""
UNKNOWN = "<unk>"
"""Stands for characters outside the vocabulary."""
SPECIALS = (BLANK, "<pad>", "</s>", UNKNOWN)
"""With which every fairseq dictionary begins; its text leaves them out."""
WORD_DELIMITER = "|"
"""Ends a word."""
