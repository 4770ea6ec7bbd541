"""Greedy decoding: the most probable output of every frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from w2v2_ray.model.ctc import collapse
from w2v2_ray.recognition.hypothesis import Character, FloatArray, Hypothesis, Word
from w2v2_ray.spec.symbols import SPECIALS, UNKNOWN, WORD_DELIMITER, are_tokens


class GreedyDecoder:
    """Takes the best output of each frame, merges repeats and drops blanks (reference section 7).

    Args:
        vocabulary: Symbols in the order of the outputs, the blank first.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._vocabulary = tuple(vocabulary)
        self._tokens = are_tokens(vocabulary)

    def decode(self, log_probs: FloatArray) -> Hypothesis:
        """Decode one utterance [T, vocabulary]."""
        best = log_probs.argmax(1) if len(log_probs) else np.zeros(0, dtype=np.int64)
        characters: list[Character] = []
        words: list[Word] = []
        for output, start, end in collapse(best.tolist()):
            symbol = self._vocabulary[output]
            if symbol != WORD_DELIMITER and (symbol == UNKNOWN or symbol not in SPECIALS):
                confidence = float(np.exp(log_probs[start:end, output]).mean())
                characters.append(Character(symbol, start, end, confidence))
            if characters and (symbol == WORD_DELIMITER or self._tokens):
                words.append(Word(tuple(characters)))
                characters = []
        if characters:
            words.append(Word(tuple(characters)))
        return Hypothesis(tuple(words))
