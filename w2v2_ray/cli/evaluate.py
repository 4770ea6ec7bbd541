"""`w2v2-ray evaluate`: word error rate and speed of a recogniser on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2v2_ray.cli.import_command import VocabularyOption
from w2v2_ray.cli.options import BestOption, DeviceChoice, DeviceOption, JsonOption


def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A fine-tuning run, a checkpoint, or anything `import` reads.")
    ],
    datasets: Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Datasets with transcripts.")],
    best: BestOption = False,
    vocabulary: VocabularyOption = None,
    batch_sizes: Annotated[
        str, typer.Option("--batch-size", help="Batch sizes to time, such as 1,4,8,16; transcripts do not change.")
    ] = "8",
    workers: Annotated[int, typer.Option(min=1, help="Ray workers that share the utterances; 1 needs no Ray.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge this many utterances only.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.json, report.md, utterances.jsonl.")] = None,
    device: DeviceOption = DeviceChoice.AUTO,
    as_json: JsonOption = False,
) -> None:
    """Judge a recogniser: WER, CER, errors by kind and speaker, confusions, latency and real-time factor.

    Greedy decoding. References are normalised as in the run's spec.
    """
    from w2v2_ray.cli.output import print_json
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.evaluation.evaluate import evaluate_model
    from w2v2_ray.evaluation.report import markdown, write_evaluation
    from w2v2_ray.orchestration.share import run_on_workers

    sizes = _sizes(batch_sizes)
    with progress_bar("evaluating", "utterances") as progress:
        evaluation = evaluate_model(
            model,
            datasets,
            best=best,
            vocabulary=vocabulary,
            batch_sizes=sizes,
            workers=workers,
            limit=limit,
            device=device.value,
            run_on_workers=run_on_workers,
            progress=progress,
        )
    files = write_evaluation(evaluation, out) if out is not None else ()
    if as_json:
        print_json(evaluation.as_dict())
        return
    typer.echo(markdown(evaluation) if out is None else _summary(evaluation.as_dict()))
    for file in files:
        typer.echo(f"  {file}")


def _sizes(text: str) -> list[int]:
    from w2v2_ray.errors import SpecError

    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1 or max(sizes) > 4096:
        raise SpecError(f"--batch-size {text}: numbers from 1 to 4096 parted by commas are wanted, such as 1,4,8,16")
    return sizes


def _summary(report: dict[str, object]) -> str:
    return f"WER {report['wer']:.2%}  CER {report['cer']:.2%}  {report['utterances']} utterances"
