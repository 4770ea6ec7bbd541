"""`w2v2-ray evaluate`: word error rate and speed of a recogniser on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    LmWeightOption,
    PrecisionChoice,
    PrecisionOption,
    WordScoreOption,
)

if TYPE_CHECKING:
    from w2v2_ray.recognition.report import Evaluation


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
    lm_weight: LmWeightOption = 2.0,
    word_score: WordScoreOption = -1.0,
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

    Greedy decoding, or beam search with --lm. References are normalised as in the run's spec; utterances without a
    transcript, or with one that the spec rejects, are counted and left out. With several workers each times its own
    batches.
    """
    from functools import partial

    from w2v2_ray.api import models
    from w2v2_ray.cli.output import print_json, print_notes
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.recognition.decoding import Decoding
    from w2v2_ray.recognition.report import markdown, write_evaluation

    with progress_bar("evaluating", "utterances") as progress:
        evaluation = models.evaluate(
            model,
            datasets,
            best=best,
            average=average,
            vocabulary=vocabulary,
            device=device.value,
            precision=precision.value,
            decoding=Decoding(lm, lexicon, beam, lm_weight, word_score),
            batch_sizes=_sizes(batch_sizes),
            limit=limit,
            workers=workers,
            address=address,
            progress=progress,
            notify=partial(typer.echo, err=True),
        )
    print_notes(evaluation.notes)
    files = write_evaluation(evaluation, out) if out is not None else ()
    if as_json:
        print_json(evaluation.as_dict())
        return
    typer.echo(markdown(evaluation) if out is None else _summary(evaluation))
    for file in files:
        typer.echo(f"  {file}")


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
