"""Jobs from Python: check, plan, train, search. Importing this imports neither torch nor ray."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from w2v2_ray.errors import DatasetError, UserError
from w2v2_ray.spec.diagnostics import Diagnostic
from w2v2_ray.spec.job import Job, TrainJob
from w2v2_ray.spec.loading import LoadedJob, load_job_text, of_kind
from w2v2_ray.spec.loading import load_job as load_spec

if TYPE_CHECKING:
    from w2v2_ray.orchestration.launch import RunResult
    from w2v2_ray.spec.sweep_loading import LoadedSweep
    from w2v2_ray.training.run_plan import RunPlan
    from w2v2_ray.tune.report import SweepReport
    from w2v2_ray.tune.runner import Finished

Notify = Callable[[str], None]
Overrides = Mapping[str, Any] | Sequence[str]
"""Fields of the spec to set: {"optim.lr": 1e-4}, or texts as `--set` takes them."""
JobLike = str | os.PathLike[str] | Mapping[str, Any] | TrainJob | LoadedJob[TrainJob]
"""A YAML file, the name of a job that comes with the package, a job as nested dicts, or one loaded before."""


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset of a job.

    Attributes:
        path: As the job names it.
        utterances: How many it holds.
        hours: Of audio.
    """

    path: str
    utterances: int
    hours: float


@dataclass(frozen=True)
class Validation:
    """What is to be said of a valid spec.

    Attributes:
        source: The file.
        kind: Of the job, sweep or space.
        facts: What it will do, by name.
        warnings: What is legal but known to cost its user a night.
        datasets: Those that were opened.
        not_looked_at: URIs that the spec names.
    """

    source: str
    kind: str
    facts: dict[str, Any]
    warnings: tuple[Diagnostic, ...] = ()
    datasets: tuple[OpenedDataset, ...] = ()
    not_looked_at: tuple[str, ...] = ()

    @property
    def is_search(self) -> bool:
        """Whether it is of a sweep or a search space, not of a job."""
        return self.kind in ("sweep", "space")


def load_job(job: JobLike, overrides: Overrides = (), *, look_at_paths: bool = False) -> LoadedJob[TrainJob]:
    """Read and validate a training job.

    Args:
        job: What to read.
        overrides: Fields to set; not of a job that was loaded before.
        look_at_paths: A path at which nothing is, on this machine, is a mistake too.

    Returns:
        The job (`.job`, a pydantic model), and what was noticed (`.warnings`).

    Raises:
        SpecError: With all mistakes, one a line, each with its place and the remedy.

    Example:
        >>> import w2v2_ray as w2v2
        >>> loaded = w2v2.load_job("demo_pretrain", {"updates": 100})
        >>> loaded.job.updates, loaded.job.kind
        (100, 'pretrain')
        >>> w2v2.load_job("demo_pretrain", {"updates": -1})
        Traceback (most recent call last):
            ...
        w2v2_ray.spec.diagnostics.InvalidJobError: --set updates=-1: updates: -1 is below 1; use 1 or more
    """
    if isinstance(job, LoadedJob):
        return job
    if isinstance(job, TrainJob):
        job = job.model_dump(mode="json")
    return of_kind(_read(job, overrides, look_at_paths=look_at_paths), TrainJob)


def validate(
    job: str | os.PathLike[str] | Mapping[str, Any],
    overrides: Overrides = (),
    *,
    open_datasets: bool = False,
    look_at_paths: bool = True,
) -> Validation:
    """Check a job, a sweep or a search space.

    Args:
        job: What to check.
        overrides: Fields to set.
        open_datasets: Also open the datasets and check that their files are complete.
        look_at_paths: Look whether datasets, models and folders are there.

    Raises:
        SpecError: With all mistakes.
        DatasetError: Naming every dataset that cannot be opened.

    Example:
        >>> import w2v2_ray as w2v2
        >>> w2v2.validate("demo_pretrain", look_at_paths=False).facts["parameters"]
        778480
    """
    from w2v2_ray.spec.paths import unseen_uris

    read = _read(job, overrides, look_at_paths=look_at_paths)
    if read.job.kind in ("sweep", "space"):
        return _validate_search(read.job.kind, read.source, overrides)
    loaded = of_kind(read, TrainJob)
    return Validation(
        source=loaded.source,
        kind=loaded.job.kind,
        facts=_facts(loaded.job),
        warnings=loaded.warnings,
        datasets=_open_datasets(loaded.job) if open_datasets else (),
        not_looked_at=tuple(unseen_uris(loaded.tree)),
    )


def plan(job: JobLike, overrides: Overrides = ()) -> RunPlan:
    """Say what a job will do: epochs, updates, shares of workers, parameters, memory. Trains nothing.

    Args:
        job: What to plan; its datasets must be there.
        overrides: Fields to set.

    Raises:
        UserError: When the spec or a dataset is not right.
    """
    from w2v2_ray.training.objectives.registry import objective_of

    spec = load_job(job, overrides, look_at_paths=True).job
    return objective_of(spec).plan(spec)


def train(
    job: JobLike,
    overrides: Overrides = (),
    *,
    resume: bool = True,
    address: str | None = None,
    notify: Notify = lambda message: None,
) -> RunResult:
    """Train a job to its end, through Ray; the same call resumes a run that was stopped or killed.

    Args:
        job: What to do.
        overrides: Fields to set.
        resume: False refuses to go on with a run that exists.
        address: Ray cluster to join; None joins the one the environment names or starts one on this machine.
        notify: Told what the user should know, such as utterances that are left out.

    Raises:
        UserError: When something is wrong before anything starts.
        RunFailedError: When the run failed; what was saved is kept.
    """
    from w2v2_ray.orchestration.launch import launch

    return launch(load_job(job, overrides).job, resume=resume, address=address, notify=notify)


def load_sweep(sweep: str | os.PathLike[str], overrides: Overrides = ()) -> LoadedSweep:
    """Read and validate a sweep.

    Raises:
        SpecError: With all mistakes.
    """
    from w2v2_ray.spec.sweep_loading import load_sweep as load

    return load(sweep, _options(overrides))


def tune(
    sweep: str | os.PathLike[str] | LoadedSweep,
    overrides: Overrides = (),
    *,
    address: str | None = None,
    dashboard: bool = False,
    measure: bool = True,
    notify: Notify = lambda message: None,
    on_trial: Callable[[Finished], None] = lambda finished: None,
) -> SweepReport:
    """Measure or train the points of a sweep, and report; the same call resumes one that was stopped or killed.

    Args:
        sweep: The spec.
        overrides: Fields to set.
        address: Ray cluster to join; None joins the one the environment names or starts one on this machine.
        dashboard: Start Ray's dashboard where Ray is started here.
        measure: False reports what was measured so far.
        notify: Told what the user should know.
        on_trial: Told of every trial that ends.

    Raises:
        UserError: When something is wrong before anything starts.
        RunFailedError: When no trial gave a figure.
    """
    from w2v2_ray.spec.sweep_loading import LoadedSweep
    from w2v2_ray.tune.report import write_report
    from w2v2_ray.tune.runner import run_sweep, sweep_folder

    loaded = sweep if isinstance(sweep, LoadedSweep) else load_sweep(sweep, overrides)
    if measure:
        run_sweep(loaded, address=address, dashboard=dashboard, notify=notify, on_trial=on_trial)
    return write_report(loaded.sweep, sweep_folder(loaded))


def _read(
    job: str | os.PathLike[str] | Mapping[str, Any], overrides: Overrides, *, look_at_paths: bool
) -> LoadedJob[Job]:
    if isinstance(job, Mapping):
        text = json.dumps(job, ensure_ascii=False)  # which is YAML
        return load_job_text(text, "job", _options(overrides), look_at_paths=look_at_paths)
    return load_spec(job, _options(overrides), look_at_paths=look_at_paths)


def _options(overrides: Overrides) -> Sequence[str]:
    if isinstance(overrides, Mapping):
        return [f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in overrides.items()]
    return overrides


def _facts(job: TrainJob) -> dict[str, Any]:
    from w2v2_ray.api.computing import computes_on
    from w2v2_ray.spec.parameter_count import count_parameters

    return {
        "kind": job.kind,
        "name": job.name,
        "updates": job.updates,
        "min_workers": job.elastic.min_workers,
        "max_workers": job.elastic.max_workers,
        "parameters": sum(count_parameters(job.model).values()) if job.model is not None else None,
        "pretrained": getattr(job, "pretrained", None),
        "sub_batches_per_update": job.batch.sub_batches_per_update,
        "audio_s_per_update": job.audio_s_per_update,
        "computes_on": computes_on(job),
    }


def _validate_search(kind: str, path: str, overrides: Overrides) -> Validation:
    """Check a sweep with all its points, or a search space."""
    from w2v2_ray.spec.sweep_loading import load_space
    from w2v2_ray.tune.points import expand

    if kind == "space":
        space = load_space(path, _options(overrides)).job
        facts: dict[str, Any] = {"kind": kind, "name": space.name, "parameters": list(space.parameters), "of": space.of}
        return Validation(path, kind, facts)
    loaded = load_sweep(path, overrides)
    points, sweep = expand(loaded), loaded.sweep
    facts = {
        "kind": kind,
        "name": sweep.name,
        "mode": sweep.mode,
        "base": loaded.base.source,
        "points": [point.label for point in points.points],
        "baseline": points.baseline.label,
        "rejected": [{"label": entry.label, "reason": entry.reason} for entry in points.rejected],
        "proposed": sweep.search.samples if sweep.search.method == "optuna" else 0,
    }
    return Validation(path, kind, facts, tuple(loaded.warnings))


def _open_datasets(job: TrainJob) -> tuple[OpenedDataset, ...]:
    """Open every dataset of the job; what is wrong with any of them is reported together."""
    from w2v2_ray.data.dataset import SpeechDataset

    found: list[OpenedDataset] = []
    wrong: list[str] = []
    for ref in dict.fromkeys((*job.data.train, *job.data.validation)):
        try:
            dataset = SpeechDataset.open(ref.path, "sizes", job.data.cache_dir, job.data.cache_bytes)
        except UserError as error:
            wrong.append(error.message)
        else:
            found.append(OpenedDataset(ref.path, len(dataset), dataset.hours))
    if wrong:
        raise DatasetError("\n".join(wrong))
    return tuple(found)
