"""`w2v2-ray export`: a trained model in the form that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from w2v2_ray.cli.import_command import VocabularyOption
from w2v2_ray.model.interop.format_names import SourceFormat, TargetFormat

if TYPE_CHECKING:
    from w2v2_ray.model.interop.loaded_model import LoadedModel


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|CHECKPOINT|MODEL",
            help="A run's folder (its newest whole checkpoint is taken), one checkpoint of it, a model folder, or "
            "anything that `import` reads.",
        ),
    ],
    target: Annotated[TargetFormat, typer.Option("--to", help="Format to write.")],
    out: Annotated[Path, typer.Option(help="Folder (own, huggingface) or file (the others) to write.")],
    best: Annotated[
        bool, typer.Option("--best", help="Of a run, take the checkpoint with the lowest validation loss.")
    ] = False,
    vocabulary: VocabularyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")] = False,
) -> None:
    """Write a model for Hugging Face, fairseq, the NVIDIA reference or torchaudio, or as ONNX or torch.export graph.

    A target that has no Hourglass refuses a model with one.
    """
    from w2v2_ray.cli.import_command import report
    from w2v2_ray.model.interop.formats import export_model

    model = load_any(source, best=best, vocabulary=vocabulary)
    report(model, out, export_model(model, target, out), as_json=as_json)


def load_any(source: Path, *, best: bool = False, vocabulary: Path | None = None) -> LoadedModel:
    """Load a model from wherever it is: a run, one of its checkpoints, or anything that can be imported.

    Raises:
        UserError: When there is no model, or it is damaged.
    """
    from w2v2_ray.engine.checkpoint.files import MANIFEST
    from w2v2_ray.engine.run_folder import RunFolder
    from w2v2_ray.model.interop.formats import import_model
    from w2v2_ray.model.interop.vocabulary import read_vocabulary

    symbols = read_vocabulary(vocabulary) if vocabulary is not None else None
    run = RunFolder(source)
    if run.checkpoints.is_dir() and run.spec.is_file():
        return _from_checkpoint(_pick(run.checkpoints, best=best), symbols)
    if (source / MANIFEST).is_file():
        return _from_checkpoint(source, symbols)
    return import_model(source, SourceFormat.AUTO, symbols)


def _pick(checkpoints: Path, *, best: bool) -> Path:
    from w2v2_ray.engine.checkpoint.files import best_checkpoint, newest_good
    from w2v2_ray.errors import CheckpointError

    damaged: list[str] = []
    found = best_checkpoint(checkpoints) if best else newest_good(checkpoints, lambda _, e: damaged.append(e.message))
    for message in damaged:
        typer.echo(typer.style("warning: ", fg=typer.colors.YELLOW) + message, err=True)
    if found is None:
        what = "no validated checkpoint" if best else "no whole checkpoint"
        raise CheckpointError(f"{checkpoints}: {what} yet; let the run reach one (checkpoint.every_updates)")
    return found


def _from_checkpoint(folder: Path, symbols: tuple[str, ...] | None) -> LoadedModel:
    from w2v2_ray.engine.checkpoint.training_state import read_full_weights
    from w2v2_ray.engine.run_folder import RunFolder
    from w2v2_ray.errors import CheckpointError
    from w2v2_ray.model.interop.loaded_model import LoadedModel, check_model, kind_of
    from w2v2_ray.spec.job import PretrainJob, TrainJob
    from w2v2_ray.spec.loading import load_job_of

    run = RunFolder(folder.resolve().parents[1])
    if not run.spec.is_file():
        raise CheckpointError(
            f"{folder}: a checkpoint outside its run: no {run.spec.name} two folders above says which model it is; "
            "give the run's folder"
        )
    job = load_job_of(TrainJob, run.spec).job
    if job.model is None:
        raise CheckpointError(f"{run.spec}: does not say which model it is; was the file altered?")
    state = read_full_weights(folder)
    kind = kind_of(state)
    return check_model(
        LoadedModel(
            spec=job.model,
            kind=kind,
            state=state,
            vocabulary=symbols if kind == "ctc" else None,
            loss=job.loss if isinstance(job, PretrainJob) else None,
            source=str(folder),
        )
    )
