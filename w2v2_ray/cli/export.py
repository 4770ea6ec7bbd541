"""`w2v2-ray export`: a trained model in the form that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2v2_ray.cli.import_command import VocabularyOption
from w2v2_ray.cli.options import AverageOption
from w2v2_ray.model.interop.format_names import TargetFormat


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CHECKPOINT|MODEL",
            help="A run (its newest whole checkpoint is taken), one checkpoint of it, a model folder, or anything that "
            "`import` reads; a path or a URI.",
        ),
    ],
    target: Annotated[TargetFormat, typer.Option("--to", help="Format to write.")],
    out: Annotated[Path, typer.Option(help="Folder (own, huggingface) or file (the others) to write.")],
    best: Annotated[
        bool, typer.Option("--best", help="Of a run, take the checkpoint with the lowest validation loss.")
    ] = False,
    average: AverageOption = 1,
    vocabulary: VocabularyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")] = False,
) -> None:
    """Write a model for Hugging Face, fairseq, the NVIDIA reference or torchaudio, or as ONNX or torch.export graph.

    A target that has no Hourglass refuses a model with one.
    """
    from w2v2_ray.cli.import_command import report
    from w2v2_ray.errors import UserError
    from w2v2_ray.model.interop.formats import export_model
    from w2v2_ray.training.model_source import load_any

    if target is TargetFormat.ONNX and out.suffix != ".onnx":
        raise UserError(f"--out {out}: an ONNX file's name ends in .onnx, which its readers go by; use {out}.onnx")
    model = load_any(source, best=best, average=average, vocabulary=vocabulary)
    report(model, out, export_model(model, target, out), as_json=as_json)
