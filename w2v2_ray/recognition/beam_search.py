"""Beam search over words with an n-gram language model: flashlight-text (Kahn et al. 2022) and its KenLM."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from w2v2_ray.errors import MissingExtraError, UserError
from w2v2_ray.model.ctc import BLANK, collapse
from w2v2_ray.recognition.hypothesis import Character, FloatArray, Hypothesis, Word
from w2v2_ray.recognition.word_list import (
    Lexicon,
    check_arpa,
    readable_lm,
    words_of_arpa,
    words_of_lexicon,
)
from w2v2_ray.spec.symbols import UNKNOWN, WORD_DELIMITER

BEAM = 50
LM_WEIGHT = 2.0
WORD_SCORE = -1.0
_THRESHOLD = 50.0
_NEVER = -1e3  # log-probability of anything but the word boundary after the last frame


class BeamSearchDecoder:
    """Finds the words of a lexicon that are most probable by sound and by language model together.

    The score is log p(sound), in nats, + lm_weight * log10 p(words) + word_score * words, as in wav2vec 2.0's
    published decoding.

    Args:
        vocabulary: Symbols in the order of the outputs, the blank first.
        lm: n-gram model that KenLM reads: ARPA text or KenLM's binary.
        lexicon: One word a line, followed by its spelling in symbols or by nothing where it is spelt as written.
            Without it the words of the ARPA text are taken, as far as the vocabulary can spell them.
        beam: Hypotheses kept at each frame.
        lm_weight: Weight of the language model.
        word_score: Added for each word.

    Attributes:
        notes: What the user should know, such as words that can never be said.

    Raises:
        MissingExtraError: When flashlight-text is not installed.
        UserError: When the model or the lexicon cannot be used.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        lm: Path,
        lexicon: Path | None = None,
        *,
        beam: int = BEAM,
        lm_weight: float = LM_WEIGHT,
        word_score: float = WORD_SCORE,
    ) -> None:
        flashlight, dictionary = _flashlight()
        self._vocabulary = tuple(vocabulary)
        self._index = {symbol: index for index, symbol in enumerate(vocabulary)}
        if WORD_DELIMITER not in self._index:
            raise UserError(
                f"beam search needs the word boundary {WORD_DELIMITER!r} in the vocabulary; decode greedily"
            )
        if not lm.is_file():
            raise UserError(f"{lm}: there is no such language model; give an ARPA text or a KenLM binary with --lm")
        check_arpa(lm)
        listed = words_of_lexicon(lexicon, self._index) if lexicon is not None else words_of_arpa(lm, self._index)
        words, self.notes = listed.lexicon, listed.notes
        self._delimiter = self._index[WORD_DELIMITER]
        self._words = dictionary.Dictionary([*(word for word in words if word != UNKNOWN), UNKNOWN])
        try:
            # Kept, because the decoder in C++ does not keep it alive.
            with _without_chatter(), readable_lm(lm) as readable:
                self._lm = import_module("flashlight.lib.text.decoder.kenlm").KenLM(str(readable), self._words)
        except RuntimeError as error:
            raise UserError(
                f"{lm}: not a language model that KenLM reads ({' '.join(str(error).split())[-200:]}); give an ARPA "
                "text or a KenLM binary"
            ) from None
        options = flashlight.LexiconDecoderOptions(
            beam_size=beam,
            beam_size_token=len(self._vocabulary),
            beam_threshold=_THRESHOLD,
            lm_weight=lm_weight,
            word_score=word_score,
            unk_score=float("-inf"),
            sil_score=0.0,
            log_add=False,
            criterion_type=flashlight.CriterionType.CTC,
        )
        unknown = self._words.get_index(UNKNOWN)
        self._decoder = flashlight.LexiconDecoder(
            options, self._trie(flashlight, words), self._lm, self._delimiter, BLANK, unknown, [], False
        )
        self.num_words = len(words)

    def _trie(self, flashlight: Any, words: Lexicon) -> Any:
        trie = flashlight.Trie(len(self._vocabulary), self._delimiter)
        start = self._lm.start(False)
        for word, spellings in words.items():
            index = self._words.get_index(word)
            _, score = self._lm.score(start, index)
            for spelling in spellings:
                trie.insert([self._index[symbol] for symbol in spelling], index, score)
        trie.smear(flashlight.SmearingMode.MAX)
        return trie

    def decode(self, log_probs: FloatArray) -> Hypothesis:
        """Decode one utterance [T, vocabulary].

        Raises:
            ValueError: When it has another number of outputs than the vocabulary.
        """
        T, V = log_probs.shape
        if len(self._vocabulary) != V:
            raise ValueError(f"{V} outputs for a vocabulary of {len(self._vocabulary)}")
        if not T:
            return Hypothesis(())
        # Words end at a boundary, which the recogniser need not hear after the last one: it is added.
        frames = np.full((T + 1, V), _NEVER, dtype=np.float32)
        frames[:T] = log_probs
        frames[T, self._delimiter] = 0.0
        best = self._decoder.decode(frames.ctypes.data, T + 1, V)[0]
        # The path also names a state before the first frame and one after the last.
        path = [int(output) for output in best.tokens[1 : T + 1]]
        spellings = [self._words.get_entry(word) for word in best.words if word >= 0]
        found = zip(self._heard(path, log_probs), spellings, strict=False)  # a word broken off at the end has none
        return Hypothesis(tuple(Word(characters, spelling) for characters, spelling in found))

    def _heard(self, path: Sequence[int], log_probs: FloatArray) -> Iterator[tuple[Character, ...]]:
        """Characters of each word."""
        characters: list[Character] = []
        for output, start, end in collapse(path):
            if output != self._delimiter:
                confidence = float(np.exp(log_probs[start:end, output]).mean())
                characters.append(Character(self._vocabulary[output], start, end, confidence))
            elif characters:
                yield tuple(characters)
                characters = []
        if characters:
            yield tuple(characters)


def _flashlight() -> tuple[Any, Any]:
    try:
        return import_module("flashlight.lib.text.decoder"), import_module("flashlight.lib.text.dictionary")
    except ImportError:
        raise MissingExtraError(
            "beam search with a language model needs flashlight-text; install with: pip install 'w2v2-ray[lm]'"
        ) from None


@contextmanager
def _without_chatter() -> Iterator[None]:
    """KenLM writes its progress to the process's error stream, which no option turns off."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
