"""Transcripts as a recogniser learns them: normalised text, its symbols, and back (reference section 7)."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.errors import DatasetError, SpecError
from w2v2_ray.spec.symbols import BLANK, SPECIALS, UNKNOWN, WORD_DELIMITER, are_tokens, visible
from w2v2_ray.spec.text import TextSpec

_FORMAT_CATEGORIES = ("Cf", "Cc", "Cs")
_MAX_CHARACTERS = 10_000
_SHOWN = 40
_NAMES = {"letters": "characters", "tokens": "tokens"}


class Tokenizer:
    """From transcripts to outputs of a recogniser and back.

    Args:
        vocabulary: Symbols in the order of the outputs, the blank first.
        text: How transcripts are written.

    Raises:
        SpecError: When no transcript could be written with these symbols.
    """

    def __init__(self, vocabulary: Sequence[str], text: TextSpec) -> None:
        self.vocabulary = tuple(vocabulary)
        self.text = text
        self._index = {symbol: index for index, symbol in enumerate(vocabulary)}
        self._characters = {symbol for symbol in vocabulary if symbol not in (*SPECIALS, WORD_DELIMITER)}
        self._check()
        allowed = self._characters if text.allowed is None else {*text.allowed} & self._characters
        self._allowed = allowed - {" "}

    def _check(self) -> None:
        if not self.vocabulary or self.vocabulary[0] != BLANK:
            shown = self.vocabulary[0] if self.vocabulary else "nothing"
            raise SpecError(f"vocabulary: output 0 is {shown!r}; it must be the CTC blank {BLANK!r}")
        if self.text.units == "tokens":
            if not are_tokens(self.vocabulary):
                raise SpecError(
                    f"text.units: tokens, but the vocabulary has {WORD_DELIMITER!r} or single characters only; use "
                    "units: letters, or symbols such as phones"
                )
        elif WORD_DELIMITER not in self._index:
            raise SpecError(
                f"vocabulary: no {WORD_DELIMITER!r}, which ends words; words could not be told apart: add it"
            )
        if self.text.unknown == "map" and UNKNOWN not in self._index:
            raise SpecError(f"text.unknown: map needs {UNKNOWN!r} in the vocabulary; use reject or drop")
        cased = [c for c in self._characters if c.lower() != c.upper()]
        if cased and not any(_cased(c, self.text) == c for c in cased):
            other = "lower" if self.text.case == "upper" else "upper"
            raise SpecError(
                f"text.case: {self.text.case}, but every letter of the vocabulary is {other} case "
                f"({_show(sorted(cased))}); use case: {other}"
            )

    def normalise(self, transcript: str) -> str | None:
        """Write a transcript as the spec wants it; unknown characters that are mapped stand as `<unk>`.

        Returns:
            Words, one space between two; empty when nothing is left; None when it is rejected.
        """
        if self.text.units == "tokens":
            return self._normalised_tokens(_prepare(transcript, self.text).split())
        written = []
        for character in " ".join(_prepare(transcript, self.text).split()):
            if character == " " or character in self._allowed:
                written.append(character)
            elif self.text.unknown == "reject":
                return None
            elif self.text.unknown == "map":
                written.append(UNKNOWN)
        return " ".join("".join(written).split())

    def _normalised_tokens(self, tokens: list[str]) -> str | None:
        unknown = [token for token in tokens if token not in self._allowed]
        if unknown and self.text.unknown == "reject":
            return None
        kept = (token if token in self._allowed else UNKNOWN for token in tokens)
        return " ".join(token for token in kept if token != UNKNOWN or self.text.unknown == "map")

    def encode(self, normalised: str) -> NDArray[np.int32]:
        """Outputs that spell a normalised transcript, every word followed by `|` as in fairseq's `.ltr` files.

        Tokens are followed by nothing, as in its `.phn` files.
        """
        if self.text.units == "tokens":
            return np.asarray([self._index[token] for token in normalised.split()], dtype=np.int32)
        delimiter = self._index[WORD_DELIMITER]
        outputs: list[int] = []
        for word in normalised.split():
            for position, part in enumerate(word.split(UNKNOWN)):
                if position:
                    outputs.append(self._index[UNKNOWN])
                outputs.extend(map(self._index.__getitem__, part))
            outputs.append(delimiter)
        return np.asarray(outputs, dtype=np.int32)

    def decode(self, outputs: Iterable[int]) -> str:
        """Text that outputs spell, blanks and other specials but `<unk>` left out."""
        symbols = (self.vocabulary[output] for output in outputs)
        kept = (symbol for symbol in symbols if symbol not in SPECIALS or symbol == UNKNOWN)
        if self.text.units == "tokens":
            return " ".join(kept)
        return " ".join("".join(" " if symbol == WORD_DELIMITER else symbol for symbol in kept).split())


def build_vocabulary(transcripts: Iterable[str | None], text: TextSpec) -> tuple[str, ...]:
    """The special symbols, `|`, and the characters of transcripts by falling count, as fairseq orders them.

    Of tokens: the special symbols and the tokens.

    Raises:
        DatasetError: When there is no text, or it holds too many characters to be spelt.
    """
    counts: Counter[str] = Counter()
    for transcript in transcripts:
        if transcript:
            written = _prepare(transcript, text)
            counts.update(written.split() if text.units == "tokens" else written)
    allowed = None if text.allowed is None else {*text.allowed}
    characters = {
        character: count
        for character, count in counts.items()
        if not character.isspace() and (allowed is None or character in allowed) and character != WORD_DELIMITER
    }
    if not characters:
        raise DatasetError(
            "data.train: no transcript in it to build a vocabulary from; use a dataset with transcripts (and check "
            "text.allowed)"
        )
    if len(characters) > _MAX_CHARACTERS:
        raise DatasetError(
            f"data.train: {len(characters)} different {_NAMES[text.units]}, the limit is {_MAX_CHARACTERS}; is this "
            "text? Set text.allowed to the characters to learn"
        )
    ordered = sorted(characters, key=lambda character: (-characters[character], character))
    return (*SPECIALS, *ordered) if text.units == "tokens" else (*SPECIALS, WORD_DELIMITER, *ordered)


def characters_per_s(transcript: str, num_samples: int) -> float:
    """How fast a transcript is spoken; spaces do not count."""
    return len(transcript.replace(" ", "")) * SAMPLE_RATE / num_samples


def _prepare(transcript: str, text: TextSpec) -> str:
    written = unicodedata.normalize("NFKC", _without_format_characters(transcript))
    for old, new in text.replace.items():
        written = written.replace(old, new)
    return _cased(written, text)


def _without_format_characters(transcript: str) -> str:
    """Drop what only steers how text is shown: joiners, direction marks, byte-order marks, soft hyphens, controls.

    They cannot be heard, and each would be a symbol of its own, or make its utterance unknown.
    """
    if transcript.isascii() and transcript.isprintable():
        return transcript
    return "".join(
        character
        for character in transcript
        if character.isspace() or unicodedata.category(character) not in _FORMAT_CATEGORIES
    )


def _cased(written: str, text: TextSpec) -> str:
    if text.case == "upper":
        return written.upper()
    return written.lower() if text.case == "lower" else written


def _show(characters: Sequence[str]) -> str:
    return "".join(map(visible, characters[:_SHOWN]))
