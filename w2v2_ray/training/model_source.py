"""A model from wherever it is: a run, one of its checkpoints, a model folder, or a file of another tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from w2v2_ray.engine.state_index import holds_weights
from w2v2_ray.engine.training_state import read_full_weights
from w2v2_ray.errors import CheckpointError, SpecError
from w2v2_ray.model.interop.format_names import SourceFormat
from w2v2_ray.model.interop.formats import import_model
from w2v2_ray.model.interop.loaded_model import LoadedModel, check_model, kind_of
from w2v2_ray.model.interop.vocabulary import read_vocabulary
from w2v2_ray.run.checkpoints.files import (
    MANIFEST,
    best_checkpoint,
    list_checkpoints,
    newest_good,
    update_of,
    verify,
)
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.run.view import look_at
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.loading import load_job_of


def load_any(
    source: str | Path, *, best: bool = False, average: int = 1, vocabulary: Path | None = None
) -> LoadedModel:
    """Load a model; what was noticed on the way is in its `notes`.

    Args:
        source: A run's folder, a checkpoint, a model folder, or anything that `import` reads; a path or a URI.
        best: Of a run, take the checkpoint with the best validation instead of the newest.
        average: Of a run, take the mean of the weights of so many of its newest checkpoints (Vaswani et al. 2017,
            section 6.1; fairseq's `average_checkpoints.py`).
        vocabulary: Of a recogniser whose file does not hold it, or to replace it.

    Raises:
        UserError: When there is no model, or it is damaged.
    """
    symbols = read_vocabulary(vocabulary) if vocabulary is not None else None
    view = look_at(source)
    if average > 1:
        if not view.is_run or view.run is None or best:
            raise SpecError(
                f"{source}: --average {average} takes a run's newest checkpoints; give the run's folder, without --best"
            )
        return _average(view.run, average, symbols)
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
        found = run.fetch_state(found, holds_weights) if found is not None else None
    else:
        fetch = partial(run.fetch_state, needed=holds_weights)
        found = newest_good(run.checkpoints, lambda _, e: damaged.append(e.message), fetch=fetch, needed=holds_weights)
    if found is None:
        what = "no validated checkpoint" if best else "no whole checkpoint"
        raise CheckpointError(f"{run.place}: {what} yet; let the run reach one (checkpoint.every_updates)")
    return found, damaged


def _average(run: RunFolder, count: int, symbols: tuple[str, ...] | None) -> LoadedModel:
    """The mean of the newest checkpoints; damaged ones are passed over with a note."""
    chosen: list[Path] = []
    notes: list[str] = []
    for path in reversed(list_checkpoints(run.checkpoints)):
        if len(chosen) == count:
            break
        try:
            found = run.fetch_state(path, holds_weights)
            verify(found, needed=holds_weights)
            chosen.append(found)
        except CheckpointError as error:
            notes.append(error.message)
    if len(chosen) < count:
        raise CheckpointError(
            f"{run.place}: --average {count}, but {len(chosen)} whole checkpoints are kept; average those, or raise "
            "checkpoint.keep_last before a run"
        )
    model = _from_checkpoint(chosen[0], symbols)
    updates = ", ".join(str(update_of(path)) for path in reversed(chosen))
    averaged = replace(
        model, state=_mean([model.state, *(read_full_weights(path, verified=True) for path in chosen[1:])])
    )
    return check_model(averaged).with_notes(*notes, f"the mean of the weights after updates {updates}")


def _mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Of each weight, in double precision, so that the order does not matter."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(tensor.dtype)
        for name, tensor in states[0].items()
    }


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
    state = {
        name: tensor for name, tensor in read_full_weights(folder).items() if not name.startswith(job.training_only)
    }
    kind = kind_of(state)
    if kind == "ctc" and symbols is None and run.vocabulary.is_file():
        symbols = read_vocabulary(run.vocabulary)
    return check_model(
        LoadedModel(
            spec=job.model,
            kind=kind,
            state=state,
            vocabulary=symbols if kind == "ctc" else None,
            loss=job.contrastive_loss,
            final_dropout=job.head_dropout,
            source=str(folder),
        )
    )
