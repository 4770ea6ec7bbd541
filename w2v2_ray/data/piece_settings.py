"""How long recordings are cut, by their pauses or by transcripts with times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PieceSettings:
    """How a recording is cut.

    Args:
        min_s: Shorter pieces are left out.
        max_s: The longest piece.
        pause_s: A pause at least as long always ends a piece.
        margin_s: Kept before and after speech, as far as the pause reaches.
    """

    min_s: float = 2.0
    max_s: float = 30.0
    pause_s: float = 1.0
    margin_s: float = 0.2
