"""Which decoder to use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from w2v2_ray.errors import SpecError
from w2v2_ray.recognition.beam_search import BEAM, LM_WEIGHT, WORD_SCORE, BeamSearchDecoder
from w2v2_ray.recognition.greedy import GreedyDecoder
from w2v2_ray.recognition.hypothesis import Decoder


@dataclass(frozen=True)
class Decoding:
    """How words are found in log-probabilities; see `BeamSearchDecoder`.

    Attributes:
        lm: Language model; None decodes greedily.
        lexicon: Words and spellings.
        beam: Hypotheses kept at each frame.
        lm_weight: Weight of the language model.
        word_score: Added for each word.
    """

    lm: Path | None = None
    lexicon: Path | None = None
    beam: int = BEAM
    lm_weight: float = LM_WEIGHT
    word_score: float = WORD_SCORE

    def __post_init__(self) -> None:
        if self.lexicon is not None and self.lm is None:
            raise SpecError("--lexicon: used with a language model only; give one with --lm")

    def decoder(self, vocabulary: Sequence[str]) -> Decoder:
        """Make the decoder of a vocabulary.

        Raises:
            UserError: When the language model, its lexicon or the library for it is missing or unusable.
        """
        if self.lm is None:
            return GreedyDecoder(vocabulary)
        return BeamSearchDecoder(
            vocabulary,
            self.lm,
            self.lexicon,
            beam=self.beam,
            lm_weight=self.lm_weight,
            word_score=self.word_score,
        )

    def with_absolute_paths(self) -> Decoding:
        """The same for a process in another folder."""
        lm, lexicon = (path.resolve() if path is not None else None for path in (self.lm, self.lexicon))
        return replace(self, lm=lm, lexicon=lexicon)

    def __str__(self) -> str:
        if self.lm is None:
            return "greedy"
        words = f", lexicon {self.lexicon}" if self.lexicon is not None else ""
        return f"beam search ({self.lm}{words}, beam {self.beam}, weight {self.lm_weight}, word {self.word_score})"


GREEDY = Decoding()
