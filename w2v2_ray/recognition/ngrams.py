"""An n-gram language model of some texts, as an ARPA file: what beam search wants of a corpus's own transcripts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from w2v2_ray.errors import DatasetError, MissingExtraError, SpecError
from w2v2_ray.places.storage import atomic_path

ORDERS = range(2, 7)
START, END = "<s>", "</s>"
_NEVER = -99.0
"""ARPA's logarithm of zero."""

NGram = tuple[str, ...]


@dataclass(frozen=True)
class NGramSummary:
    """What was written.

    Attributes:
        path: The ARPA file.
        sentences: That it was made of.
        words: Different ones that may be said.
        ngrams: How many of each length, single words first.
    """

    path: Path
    sentences: int
    words: int
    ngrams: tuple[int, ...]


def write_ngrams(sentences: Iterable[Sequence[str]], out: Path, order: int = 3) -> NGramSummary:
    """Count n-grams, smooth them after Witten and Bell, and write them as ARPA.

    Witten-Bell (Chen and Goodman 1998, section 2.5; nltk's `WittenBellInterpolated`) has an answer for histories that
    were met once, of which small corpora are full. An interpolated model is written as ARPA without loss: an n-gram
    that occurred has its probability, and a history's back-off weight is what it leaves to the shorter history.

    Args:
        sentences: The words of each. Only words that occur can be recognised.
        out: Where to write; replaced when it is there, once the new one is whole.
        order: Longest n-gram, 2 to 6.

    Raises:
        SpecError: For another order.
        DatasetError: Without a word.
        MissingExtraError: When nltk is not installed.
    """
    if order not in ORDERS:
        raise SpecError(f"--order {order}: from {ORDERS[0]} to {ORDERS[-1]} words; 3 suits a corpus's own transcripts")
    texts = [(START, *sentence, END) for sentence in sentences if sentence]
    if not texts:
        raise DatasetError("no sentence to make a language model of; give datasets with transcripts, or texts")
    model = _fitted(texts, order)
    tables = [list(_lines(model, length)) for length in range(1, order + 1)]
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {length}={len(lines)}\n" for length, lines in enumerate(tables, 1))
        for length, lines in enumerate(tables, 1):
            file.write(f"\n\\{length}-grams:\n")
            file.writelines(lines)
        file.write("\n\\end\\\n")
    sizes = tuple(map(len, tables))
    return NGramSummary(out, len(texts), sizes[0] - len((START, END)), sizes)


def _fitted(texts: Sequence[NGram], order: int) -> Any:
    """Fit nltk's model. `<s>` is a history only: were it counted as a word, some probability would be kept for it."""
    try:
        lm, everygrams = import_module("nltk.lm"), import_module("nltk.util").everygrams
    except ImportError:
        raise MissingExtraError(
            "making a language model needs nltk; install with: pip install 'w2v2-ray[lm]'"
        ) from None
    model = lm.WittenBellInterpolated(order)
    counted = ((gram for gram in everygrams(text, max_len=order) if gram != (START,)) for text in texts)
    model.fit(counted, (word for text in texts for word in text))
    return model


def _lines(model: Any, length: int) -> Iterator[str]:
    """Lines of all n-grams of one length: log10 of the probability, words, log10 of the back-off weight."""
    for gram, probability in _probabilities(model, length):
        columns = [f"{_log10(probability):.6f}", " ".join(gram)]
        if length < model.order and gram[-1] != END:
            columns.append(f"{_log10(_left_to_shorter(model, gram)):.6f}")
        yield "\t".join(columns) + "\n"


def _probabilities(model: Any, length: int) -> Iterator[tuple[NGram, float]]:
    if length == 1:
        yield (START,), 0.0
        for word in model.counts.unigrams:
            yield (word,), model.unmasked_score(word)
        return
    for history, followers in model.counts[length].items():
        for word in followers:
            yield (*history, word), model.unmasked_score(word, history)


def _left_to_shorter(model: Any, history: NGram) -> float:
    """The share of a history's probability that the shorter history divides; all of it where nothing followed."""
    if history not in model.counts[len(history) + 1]:
        return 1.0
    _, share = model.estimator.alpha_gamma(history[-1], history)
    return float(share)


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else _NEVER
