"""`w2v2-ray lm`: a language model for a recogniser, from the transcripts it was trained on or other texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2v2_ray.cli.import_command import VocabularyOption
from w2v2_ray.cli.options import JsonOption


def lm(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The recogniser: a fine-tuning run, a checkpoint, a model; or a URI.")
    ],
    texts: Annotated[
        list[str],
        typer.Argument(metavar="TEXT...", help="Datasets with transcripts, and .txt files of one sentence a line."),
    ],
    out: Annotated[Path, typer.Option(help="ARPA file to write, for the --lm of evaluate and transcribe.")],
    order: Annotated[int, typer.Option(min=2, max=6, help="Longest sequence of words that is counted.")] = 3,
    vocabulary: VocabularyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an n-gram language model of a corpus's own transcripts, or of other texts, for beam search.

    Sentences are normalised as the recogniser's transcripts are; those that its symbols do not spell are counted and
    left out. Use training texts only. Probabilities are smoothed after Witten and Bell. For hundreds of millions of
    words use KenLM's lmplz: --lm reads what it writes.
    """
    from w2v2_ray.api.language_models import language_model
    from w2v2_ray.cli.output import print_json

    made = language_model(model, texts, out, order=order, vocabulary=vocabulary)
    written = made.written
    if as_json:
        counts = {"sentences": written.sentences, "words": written.words, "ngrams": list(written.ngrams)}
        print_json({"path": str(written.path), **counts, "left_out": made.left_out})
        return
    left_out = f"; {made.left_out} left out, which its symbols do not spell" if made.left_out else ""
    lengths = ", ".join(f"{count} of {length}" for length, count in enumerate(written.ngrams, 1))
    typer.echo(f"{written.path}: {written.words} words in {written.sentences} sentences{left_out} (n-grams: {lengths})")
