"""`w2v2-ray validate`: all mistakes of a job spec at once, in under a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2v2_ray.cli.options import JobArgument, JsonOption, SetOption

if TYPE_CHECKING:
    from w2v2_ray.spec.diagnostics import Diagnostic
    from w2v2_ray.spec.job import TrainJob
    from w2v2_ray.spec.loading import LoadedJob


def validate(
    job: JobArgument,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    check_data: Annotated[
        bool, typer.Option("--check-data", help="Also open the datasets and check that their files are complete.")
    ] = False,
    look_at_paths: Annotated[
        bool,
        typer.Option(
            "--paths/--no-paths",
            help="Look whether datasets, models and folders are there; not for a job that is to run elsewhere.",
        ),
    ] = True,
) -> None:
    """Check a job spec, a sweep or a search space: every mistake with its place, the limit and the remedy.

    Exit 0 valid, 2 not.
    """
    from w2v2_ray.cli.output import print_json, print_warnings
    from w2v2_ray.errors import UserError
    from w2v2_ray.spec.diagnostics import InvalidJobError
    from w2v2_ray.spec.job import TrainJob
    from w2v2_ray.spec.loading import load_job, of_kind
    from w2v2_ray.spec.paths import unseen_uris

    try:
        read = load_job(job, overrides or (), look_at_paths=look_at_paths)
        if read.job.kind in ("sweep", "space"):
            _validate_search(read.job.kind, job, overrides or (), as_json)
            return
        loaded = of_kind(read, TrainJob)
        datasets = _open_datasets(loaded) if check_data else []
    except UserError as error:
        if not as_json:
            raise
        diagnostics = error.diagnostics if isinstance(error, InvalidJobError) else ()
        mistakes = [diagnostic.as_dict() for diagnostic in diagnostics] or [{"message": error.message}]
        print_json({"valid": False, "errors": mistakes, "warnings": []})
        raise typer.Exit(error.exit_code) from None
    if as_json:
        warnings = [warning.as_dict() for warning in loaded.warnings]
        print_json({"valid": True, "errors": [], "warnings": warnings, "datasets": datasets, **_facts(loaded)})
        return
    print_warnings(loaded.warnings)
    facts = _facts(loaded)
    uris = unseen_uris(loaded.tree)
    typer.echo(
        f"{job}: valid\n"
        f"  {facts['kind']} job {facts['name']}, {facts['updates']:,} updates on "
        f"{facts['min_workers']} to {facts['max_workers']} workers\n"
        f"  {_parameters(facts)}; an update is {facts['sub_batches_per_update']} sub-batches, "
        f"at most {facts['audio_s_per_update']:,.0f} s of audio\n"
        f"  computes on: {facts['computes_on']}"
    )
    if uris:
        typer.echo(f"  not looked at: {', '.join(uris)}")
    for entry in datasets:
        typer.echo(f"  {entry['path']}: {entry['utterances']:,} utterances, {entry['hours']:.2f} h")


def _validate_search(kind: str, path: Path, overrides: Sequence[str], as_json: bool) -> None:
    """Check a sweep with all its points, or a search space."""
    from w2v2_ray.cli.output import print_json, print_warnings
    from w2v2_ray.spec.sweep_loading import load_space, load_sweep
    from w2v2_ray.tune.points import expand

    warnings: Sequence[Diagnostic] = ()
    if kind == "space":
        space = load_space(path, overrides).job
        facts: dict[str, Any] = {"kind": kind, "name": space.name, "parameters": list(space.parameters)}
        lines = [f"  a space of {space.of} jobs over {', '.join(space.parameters)}"]
    else:
        loaded = load_sweep(path, overrides)
        points, warnings = expand(loaded), loaded.warnings
        sweep = loaded.sweep
        labels = [point.label for point in points.points]
        rejected = [{"label": entry.label, "reason": entry.reason} for entry in points.rejected]
        facts = {"kind": kind, "name": sweep.name, "mode": sweep.mode, "points": labels, "rejected": rejected}
        searched = f", and {sweep.search.samples} that optuna proposes" if sweep.search.method == "optuna" else ""
        lines = [
            f"  sweep {sweep.name} over {loaded.base.source}, mode {sweep.mode}",
            f"  {len(labels)} points{searched}, compared with {points.baseline.label}; {len(rejected)} left out, since "
            "the job schema refuses them (see `w2v2-ray tune --dry-run`)",
        ]
    if as_json:
        print_json({"valid": True, "errors": [], "warnings": [entry.as_dict() for entry in warnings], **facts})
        return
    print_warnings(warnings)
    typer.echo("\n".join([f"{path}: valid", *lines]))


def _parameters(facts: dict[str, Any]) -> str:
    if facts["parameters"] is None:
        return f"the network of {facts['pretrained']}"
    return f"{facts['parameters']:,} parameters"


def _facts(loaded: LoadedJob[TrainJob]) -> dict[str, Any]:
    from w2v2_ray.cli.computing import computes_on
    from w2v2_ray.spec.parameter_count import count_parameters

    job = loaded.job
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


def _open_datasets(loaded: LoadedJob[TrainJob]) -> list[dict[str, Any]]:
    """Open every dataset of the job; what is wrong with any of them is reported together."""
    from w2v2_ray.data.dataset import SpeechDataset
    from w2v2_ray.errors import DatasetError, UserError

    data = loaded.job.data
    found: list[dict[str, Any]] = []
    wrong: list[str] = []
    for ref in dict.fromkeys((*data.train, *data.validation)):
        try:
            dataset = SpeechDataset.open(ref.path, "sizes", data.cache_dir, data.cache_bytes)
        except UserError as error:
            wrong.append(error.message)
        else:
            found.append({"path": ref.path, "utterances": len(dataset), "hours": dataset.hours})
    if wrong:
        raise DatasetError("\n".join(wrong))
    return found
