"""`w2v2-ray evaluate`: word error rate and speed of a recogniser on a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2v2_ray.cli.import_command import VocabularyOption
from w2v2_ray.cli.options import (
    AverageOption,
    BeamOption,
    BestOption,
    DeviceChoice,
    DeviceOption,
    JsonOption,
    LexiconOption,
    LmOption,
    LmWeightsOption,
    PrecisionChoice,
    PrecisionOption,
    WordScoresOption,
)

if TYPE_CHECKING:
    from w2v2_ray.recognition.report import Evaluation
    from w2v2_ray.recognition.tuning import Tried


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A fine-tuning run, a checkpoint, what `import` reads; or a URI."),
    ],
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="Datasets with transcripts: folders or URIs.")
    ],
    best: BestOption = False,
    average: AverageOption = 1,
    vocabulary: VocabularyOption = None,
    batch_sizes: Annotated[
        str, typer.Option("--batch-size", help="Batch sizes to time, such as 1,4,8,16; transcripts do not change.")
    ] = "8",
    lm: LmOption = None,
    lexicon: LexiconOption = None,
    beam: BeamOption = 50,
    lm_weights: LmWeightsOption = "2.0",
    word_scores: WordScoresOption = "-1.0",
    workers: Annotated[int, typer.Option(min=1, help="Ray workers that share the utterances; 1 needs no Ray.")] = 1,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join; without it (and RAY_ADDRESS) one is started here.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge this many utterances only.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.json, report.md, utterances.jsonl.")] = None,
    device: DeviceOption = DeviceChoice.AUTO,
    precision: PrecisionOption = PrecisionChoice.FP32,
    as_json: JsonOption = False,
) -> None:
    """Judge a recogniser: WER, CER, errors by kind and speaker, confusions, latency and real-time factor.

    Greedy decoding, or beam search with --lm; of several weights each pair is tried, and the best is judged.
    References are normalised as in the run's spec; utterances without a transcript, or with one that the spec rejects,
    are counted and left out. With several workers each times its own batches.
    """
    from functools import partial

    from w2v2_ray.api import models
    from w2v2_ray.cli.output import print_json, print_notes
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.recognition.decoding import Decoding
    from w2v2_ray.recognition.report import markdown, write_evaluation

    chosen: dict[str, Any] = {
        "best": best,
        "average": average,
        "vocabulary": vocabulary,
        "device": device.value,
        "precision": precision.value,
        "limit": limit,
    }
    weights, scores = numbers("--lm-weight", lm_weights), numbers("--word-score", word_scores)
    decoding = Decoding(lm, lexicon, beam, weights[0], scores[0])
    tried: tuple[Tried, ...] = ()
    if len(weights) * len(scores) > 1:
        with progress_bar("trying weights", "utterances") as progress:
            tried = models.tune_decoding(
                model, datasets, decoding, lm_weights=weights, word_scores=scores, progress=progress, **chosen
            )
        decoding = replace(decoding, lm_weight=tried[0].lm_weight, word_score=tried[0].word_score)
    with progress_bar("evaluating", "utterances") as progress:
        evaluation = models.evaluate(
            model,
            datasets,
            decoding=decoding,
            batch_sizes=_sizes(batch_sizes),
            workers=workers,
            address=address,
            progress=progress,
            notify=partial(typer.echo, err=True),
            **chosen,
        )
    print_notes(evaluation.notes)
    files = write_evaluation(evaluation, out) if out is not None else ()
    if as_json:
        print_json(evaluation.as_dict() | ({"tried": [pair.as_dict() for pair in tried]} if tried else {}))
        return
    if tried:
        typer.echo(_table(tried))
    typer.echo(markdown(evaluation) if out is None else _summary(evaluation))
    for file in files:
        typer.echo(f"  {file}")


def numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers of an option that takes several.

    Raises:
        SpecError: When one is none.
    """
    from math import isfinite

    from w2v2_ray.errors import SpecError

    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(map(isfinite, found)):
        raise SpecError(f"{option} {text}: a number is wanted, or several parted by commas, such as 0.5,1,2")
    return found


def _table(tried: Sequence[Tried]) -> str:
    """What each pair of weights gave, and the warning that goes with choosing."""
    rows = [f"| {pair.lm_weight:g} | {pair.word_score:g} | {pair.wer:.2%} | {pair.cer:.2%} |" for pair in tried]
    head = ["| weight | word score | WER | CER |", "| --- | --- | --- | --- |"]
    tail = "The first was chosen on this very data, which flatters it: judge it on other data.\n"
    return "\n".join([*head, *rows, tail])


def _sizes(text: str) -> tuple[int, ...]:
    from w2v2_ray.errors import SpecError

    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1 or max(sizes) > 4096:
        raise SpecError(f"--batch-size {text}: numbers from 1 to 4096 parted by commas are wanted, such as 1,4,8,16")
    return sizes


def _summary(evaluation: Evaluation) -> str:
    scores = evaluation.scores
    left_out = evaluation.without_transcript + evaluation.unspellable
    tail = f", {left_out} left out" if left_out else ""
    return f"WER {scores.words.rate:.2%}  CER {scores.characters.rate:.2%}  {evaluation.utterances} utterances{tail}"
