"""Beam search over words with an n-gram language model: flashlight-text (Kahn et al. 2022) and its KenLM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from w2v2_ray.errors import MissingExtraError, UserError
from w2v2_ray.evaluation.hypothesis import Character, FloatArray, Hypothesis, Word
from w2v2_ray.model.ctc import BLANK, collapse
from w2v2_ray.spec.symbols import SPECIALS, UNKNOWN, WORD_DELIMITER

BEAM = 50
LM_WEIGHT = 2.0
WORD_SCORE = -1.0
_THRESHOLD = 50.0
_NEVER = -1e3  # log-probability of anything but the word boundary after the last frame
_SHOWN = 5
_NOT_WORDS = (*SPECIALS, "<UNK>")

Lexicon = dict[str, list[list[str]]]
"""Spellings of every word, each in symbols of the vocabulary and closed by the word boundary."""


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
        words = _read_lexicon(lexicon, self._index) if lexicon is not None else _words_of_arpa(lm, self._index)
        self._delimiter = self._index[WORD_DELIMITER]
        self._words = dictionary.Dictionary([*(word for word in words if word != UNKNOWN), UNKNOWN])
        try:
            # Kept, because the decoder in C++ does not keep it alive.
            self._lm = import_module("flashlight.lib.text.decoder.kenlm").KenLM(str(lm), self._words)
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


def _words_of_arpa(lm: Path, index: dict[str, int]) -> Lexicon:
    """The unigrams of an ARPA text that the vocabulary can spell."""
    listed = [word for word in _unigrams(lm) if word not in _NOT_WORDS]
    lexicon = {word: [[*word, WORD_DELIMITER]] for word in listed if _is_spellable(word, index)}
    if not lexicon:
        symbols = " ".join(symbol for symbol in index if symbol not in SPECIALS)
        raise UserError(
            f"{lm}: the recogniser's symbols ({symbols[:80]}) spell none of its {len(listed)} words "
            f"({', '.join(listed[:_SHOWN])}); write the language model in the same letter case, or give --lexicon"
        )
    return lexicon


def _unigrams(lm: Path) -> Iterator[str]:
    with lm.open("rb") as file:
        if b"\\data\\" not in file.read(4096):
            raise UserError(f"{lm}: not an ARPA text, so its words cannot be listed; give them with --lexicon")
        file.seek(0)
        inside = False
        for number, line in enumerate(file, 1):
            if line.startswith(b"\\"):
                if inside:
                    return
                inside = line.strip() == b"\\1-grams:"
            elif inside and len(columns := line.split()) > 1:
                try:
                    yield columns[1].decode()
                except UnicodeDecodeError:
                    raise UserError(f"{lm}:{number}: not UTF-8 text; convert the language model") from None


def _read_lexicon(path: Path, index: dict[str, int]) -> Lexicon:
    lexicon: Lexicon = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: the lexicon cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); a lexicon is text, one word a line") from None
    for number, line in enumerate(lines, 1):
        word, *spelling = line.split() or [""]
        if not word:
            continue
        symbols = [symbol for symbol in spelling or [*word] if symbol != WORD_DELIMITER]
        if not symbols or not _is_spellable(symbols, index):
            raise UserError(
                f"{path}:{number}: {word!r} is spelt {' '.join(symbols)!r}, which are not all symbols of the "
                "recogniser; mind letter case, or remove the word"
            )
        spelt = [*symbols, WORD_DELIMITER]
        if spelt not in lexicon.setdefault(word, []):
            lexicon[word].append(spelt)
    if not lexicon:
        raise UserError(f"{path}: no word in this lexicon; write one a line")
    return lexicon


def _is_spellable(symbols: Sequence[str], index: dict[str, int]) -> bool:
    return all(symbol in index and symbol not in SPECIALS and symbol != WORD_DELIMITER for symbol in symbols)
