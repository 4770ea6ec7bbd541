"""A model from wherever it is: a run, one of its checkpoints, a model folder, or a file of another tool."""

from __future__ import annotations

from pathlib import Path

from w2v2_ray.engine.checkpoint.files import MANIFEST, best_checkpoint, newest_good
from w2v2_ray.engine.checkpoint.training_state import read_full_weights
from w2v2_ray.engine.remote.view import look_at
from w2v2_ray.engine.run_folder import RunFolder
from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.format_names import SourceFormat
from w2v2_ray.model.interop.formats import import_model
from w2v2_ray.model.interop.loaded_model import LoadedModel, check_model, kind_of
from w2v2_ray.model.interop.vocabulary import read_vocabulary
from w2v2_ray.spec.finetune import FinetuneJob
from w2v2_ray.spec.job import PretrainJob, TrainJob
from w2v2_ray.spec.loading import load_job_of


def load_any(source: str | Path, *, best: bool = False, vocabulary: Path | None = None) -> LoadedModel:
    """Load a model; what was noticed on the way is in its `notes`.

    Args:
        source: A run's folder, a checkpoint, a model folder, or anything that `import` reads; a path or a URI.
        best: Of a run, take the checkpoint with the best validation instead of the newest.
        vocabulary: Of a recogniser whose file does not hold it, or to replace it.

    Raises:
        UserError: When there is no model, or it is damaged.
    """
    symbols = read_vocabulary(vocabulary) if vocabulary is not None else None
    view = look_at(source)
    if view.is_run and view.run is not None:
        checkpoint, damaged = _pick(view.run, best=best)
        return _from_checkpoint(checkpoint, symbols).with_notes(*damaged)
    if (view.path / MANIFEST).is_file():
        return _from_checkpoint(view.path, symbols)
    return import_model(view.path, SourceFormat.AUTO, symbols)


def run_of(source: str | Path) -> RunFolder | None:
    """The run that a source is or lies in; None for a model from elsewhere."""
    return look_at(source).run


def _pick(run: RunFolder, *, best: bool) -> tuple[Path, list[str]]:
    damaged: list[str] = []
    if best:
        found = best_checkpoint(run.checkpoints)
        found = run.fetch_state(found) if found is not None else None
    else:
        found = newest_good(run.checkpoints, lambda _, e: damaged.append(e.message), fetch=run.fetch_state)
    if found is None:
        what = "no validated checkpoint" if best else "no whole checkpoint"
        raise CheckpointError(f"{run.place}: {what} yet; let the run reach one (checkpoint.every_updates)")
    return found, damaged


def _from_checkpoint(folder: Path, symbols: tuple[str, ...] | None) -> LoadedModel:
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
    if kind == "ctc" and symbols is None and run.vocabulary.is_file():
        symbols = read_vocabulary(run.vocabulary)
    return check_model(
        LoadedModel(
            spec=job.model,
            kind=kind,
            state=state,
            vocabulary=symbols if kind == "ctc" else None,
            loss=job.loss if isinstance(job, PretrainJob) else None,
            final_dropout=job.regularisation.final_dropout if isinstance(job, FinetuneJob) else 0.0,
            source=str(folder),
        )
    )
