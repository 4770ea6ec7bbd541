"""Language models for a recogniser, from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from w2v2_ray.api.places import absolute
from w2v2_ray.errors import SpecError
from w2v2_ray.recognition.ngrams import NGramSummary, write_ngrams
from w2v2_ray.recognition.recogniser import load_recogniser
from w2v2_ray.recognition.sentences import Sentences


@dataclass(frozen=True)
class LanguageModel:
    """A language model that was made.

    Attributes:
        written: The file and its size.
        left_out: Sentences that the recogniser's symbols do not spell.
    """

    written: NGramSummary
    left_out: int


def language_model(
    model: str | os.PathLike[str],
    texts: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    order: int = 3,
    vocabulary: str | os.PathLike[str] | None = None,
) -> LanguageModel:
    """Make an n-gram language model for a recogniser: its words are written as the recogniser writes them.

    Args:
        model: The recogniser, as for `load`: how it normalises transcripts decides how the texts are written.
        texts: Datasets with transcripts (folders or URIs), and `.txt` files of one sentence a line. Give no held-out
            part: the recogniser would be judged by sentences that it was told.
        out: The ARPA file to write, for `Decoding(lm=...)` and `--lm`.
        order: Longest n-gram, 2 to 6.
        vocabulary: As for `load`.

    Raises:
        UserError: When the model or a text cannot be used, or none of the texts can be spelt.
    """
    symbols = Path(vocabulary) if vocabulary is not None else None
    tokenizer = load_recogniser(absolute(model), vocabulary=symbols, device="cpu").tokenizer
    if tokenizer.text.units == "tokens":
        raise SpecError(f"{os.fspath(model)}: recognises tokens, not letters; beam search spells words in letters only")
    several = [texts] if isinstance(texts, (str, os.PathLike)) else texts
    sentences = Sentences(tokenizer, tuple(absolute(text) for text in several))
    summary = write_ngrams(sentences, Path(out), order)
    return LanguageModel(summary, sentences.left_out)
