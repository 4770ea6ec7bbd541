"""`w2v2-ray train`: run a job."""

from __future__ import annotations

from typing import Annotated

import typer

from w2v2_ray.cli.options import JobArgument, SetOption


def train(
    job: JobArgument,
    overrides: SetOption = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Go on with the run where it stopped, or refuse when it exists."),
    ] = True,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join; without it (and RAY_ADDRESS) one is started here.")
    ] = None,
) -> None:
    """Train a job to its end; the same command resumes a run that was stopped or killed."""
    from functools import partial

    from rich.console import Console

    from w2v2_ray.api import jobs
    from w2v2_ray.cli.live import show_training
    from w2v2_ray.cli.output import print_warnings
    from w2v2_ray.orchestration.launch import run_folder

    loaded = jobs.load_job(job, overrides or ())
    print_warnings(loaded.warnings)
    with show_training(loaded.job, run_folder(loaded.job), Console(stderr=True)):
        summary = jobs.train(loaded, resume=resume, address=address, notify=partial(typer.echo, err=True))
    typer.echo(f"run finished: {summary.place} ({summary.updates} updates)")
