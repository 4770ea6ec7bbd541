"""Which weights of a language model suit a recogniser: every pair of some, on held-out speech."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from w2v2_ray.errors import SpecError
from w2v2_ray.recognition.evaluate import Subject
from w2v2_ray.recognition.hypothesis import FloatArray
from w2v2_ray.recognition.measuring import judgeable
from w2v2_ray.recognition.scoring import Scored, score

_BATCH = 8


@dataclass(frozen=True)
class Tried:
    """One pair of weights and what it gave.

    Attributes:
        lm_weight: Weight of the language model.
        word_score: Added for each word.
        wer: Word errors for each word of the references.
        cer: The same of characters.
    """

    lm_weight: float
    word_score: float
    wer: float
    cer: float

    def as_dict(self) -> dict[str, Any]:
        """For reports."""
        return asdict(self)


def tune_decoding(
    subject: Subject,
    lm_weights: Sequence[float],
    word_scores: Sequence[float],
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Tried, ...]:
    """Decode with every pair of weights; the recogniser hears each utterance once.

    Args:
        subject: The recogniser, held-out datasets, and a decoding with a language model.
        lm_weights: To be tried.
        word_scores: To be tried with each of them.
        limit: Utterances to use at most.
        progress: Told how many utterances have been heard, then decoded.

    Returns:
        All pairs by rising word error rate; of equal ones, the one that was given first is first.

    Raises:
        SpecError: Without a language model.
        UserError: When the model, a dataset or the language model cannot be used.
    """
    if subject.decoding.lm is None:
        raise SpecError("several weights, but no language model to weigh; give one with --lm")
    recogniser, data = subject.load(), subject.open()
    chosen = judgeable(data, recogniser, limit)
    pairs = list(product(lm_weights, word_scores))
    total = len(chosen.indices) * (len(pairs) + 1)
    heard: list[FloatArray] = []
    for start in range(0, len(chosen.indices), _BATCH):
        heard += recogniser.log_probs([data.audio(index) for index in chosen.indices[start : start + _BATCH]])
        progress(len(heard), total)
    tried = []
    for number, (weight, word_score) in enumerate(pairs, 1):
        decoder = replace(subject.decoding, lm_weight=weight, word_score=word_score).decoder(recogniser.vocabulary)
        scores = score(
            Scored(str(index), None, reference, decoder.decode(log_probs).text)
            for index, reference, log_probs in zip(chosen.indices, chosen.references, heard, strict=True)
        )
        tried.append(Tried(weight, word_score, scores.words.rate, scores.characters.rate))
        progress(len(heard) * (number + 1), total)
    return tuple(sorted(tried, key=lambda pair: pair.wer))
