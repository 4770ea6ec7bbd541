"""What a decoder makes of an utterance: words and characters with their frames and confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Character:
    """One symbol of the vocabulary where it was heard.

    Attributes:
        symbol: The character.
        start_frame: First frame.
        end_frame: Frame after the last.
        confidence: Mean probability over its frames, 0 to 1.
    """

    symbol: str
    start_frame: int
    end_frame: int
    confidence: float


@dataclass(frozen=True)
class Word:
    """The characters between two word boundaries."""

    characters: tuple[Character, ...]
    spelling: str | None = None
    """How it is written where that is not its characters' (a lexicon's spelling)."""

    @property
    def text(self) -> str:
        """The word as it is written."""
        return self.spelling or "".join(character.symbol for character in self.characters)

    @property
    def start_frame(self) -> int:
        """First frame."""
        return self.characters[0].start_frame

    @property
    def end_frame(self) -> int:
        """Frame after the last."""
        return self.characters[-1].end_frame

    @property
    def confidence(self) -> float:
        """Least confidence of its characters: one doubtful letter makes a doubtful word."""
        return min(character.confidence for character in self.characters)


@dataclass(frozen=True)
class Hypothesis:
    """What was said."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The words, one space between two."""
        return " ".join(word.text for word in self.words)

    @property
    def confidence(self) -> float:
        """Mean confidence of its words; 1 when nothing was said."""
        if not self.words:
            return 1.0
        return sum(word.confidence for word in self.words) / len(self.words)


class Decoder(Protocol):
    """From log-probabilities to words.

    Attributes:
        notes: What the user should know of it.
    """

    notes: tuple[str, ...]

    def decode(self, log_probs: FloatArray) -> Hypothesis:
        """Decode one utterance.

        Args:
            log_probs: Natural logarithms [T, vocabulary], valid frames only.
        """
        ...
