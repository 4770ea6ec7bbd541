"""`w2v2-ray validate`: all mistakes of a job spec at once, in under a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2v2_ray.cli.options import JobArgument, JsonOption, SetOption

if TYPE_CHECKING:
    from w2v2_ray.api.jobs import Validation

_ONLY_SHOWN = ("of", "base", "baseline", "proposed")
"""Facts of a search that its JSON leaves out."""


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
    from dataclasses import asdict

    from w2v2_ray.api import jobs
    from w2v2_ray.cli.output import print_json, print_warnings
    from w2v2_ray.errors import UserError
    from w2v2_ray.spec.diagnostics import InvalidJobError

    try:
        found = jobs.validate(job, overrides or (), open_datasets=check_data, look_at_paths=look_at_paths)
    except UserError as error:
        if not as_json:
            raise
        diagnostics = error.diagnostics if isinstance(error, InvalidJobError) else ()
        mistakes = [diagnostic.as_dict() for diagnostic in diagnostics] or [{"message": error.message}]
        print_json({"valid": False, "errors": mistakes, "warnings": []})
        raise typer.Exit(error.exit_code) from None
    if not as_json:
        print_warnings(found.warnings)
        typer.echo("\n".join([f"{job}: valid", *_lines(found)]))
        return
    warnings = [warning.as_dict() for warning in found.warnings]
    facts = {name: value for name, value in found.facts.items() if name not in _ONLY_SHOWN}
    datasets = {} if found.is_search else {"datasets": [asdict(dataset) for dataset in found.datasets]}
    print_json({"valid": True, "errors": [], "warnings": warnings, **datasets, **facts})


def _lines(found: Validation) -> list[str]:
    """What is valid, for people."""
    facts = found.facts
    if found.kind == "space":
        return [f"  a space of {facts['of']} jobs over {', '.join(facts['parameters'])}"]
    if found.kind == "sweep":
        searched = f", and {facts['proposed']} that optuna proposes" if facts["proposed"] else ""
        return [
            f"  sweep {facts['name']} over {facts['base']}, mode {facts['mode']}",
            f"  {len(facts['points'])} points{searched}, compared with {facts['baseline']}; {len(facts['rejected'])} "
            "left out, since the job schema refuses them (see `w2v2-ray tune --dry-run`)",
        ]
    lines = [
        f"  {facts['kind']} job {facts['name']}, {facts['updates']:,} updates on "
        f"{facts['min_workers']} to {facts['max_workers']} workers",
        f"  {_parameters(facts)}; an update is {facts['sub_batches_per_update']} sub-batches, "
        f"at most {facts['audio_s_per_update']:,.0f} s of audio",
        f"  computes on: {facts['computes_on']}",
    ]
    if found.not_looked_at:
        lines.append(f"  not looked at: {', '.join(found.not_looked_at)}")
    return lines + [f"  {entry.path}: {entry.utterances:,} utterances, {entry.hours:.2f} h" for entry in found.datasets]


def _parameters(facts: dict[str, Any]) -> str:
    if facts["parameters"] is None:
        return f"the network of {facts['pretrained']}"
    return f"{facts['parameters']:,} parameters"
