"""What the watchdog must know of an objective."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Watched:
    """What the watchdog needs to know of an objective's figures.

    Attributes:
        codebooks: Codebooks that may collapse.
        entries: Entries of each.
        negatives: Distractors, which say what a loss by chance is.
    """

    codebooks: int | None = None
    entries: int | None = None
    negatives: int | None = None


NOTHING_WATCHED = Watched()
"""The loss and the gradients alone."""
