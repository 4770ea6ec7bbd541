"""`w2v2-ray submit`: run a job on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from w2v2_ray.cli import evaluate, prepare
from w2v2_ray.cli.options import SetOption

if TYPE_CHECKING:
    from w2v2_ray.orchestration.submission.request import JobRequest, Surroundings
    from w2v2_ray.orchestration.submission.server import JobServer

_INTERRUPTED = 130
_COMMANDS: dict[str, Callable[..., None]] = {"prepare": prepare.prepare, "evaluate": evaluate.evaluate}
"""What can be submitted besides job specs."""


def submit(
    job: Annotated[
        str,
        typer.Argument(metavar="JOB", help="Job spec, a YAML file; `prepare`; or `evaluate`.", show_default=False),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGUMENTS]", help="Of `prepare` or `evaluate`, after --.", show_default=False),
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            envvar="RAY_API_SERVER_ADDRESS",
            help="Ray's dashboard and job server. It runs any code sent to it: reach it through an SSH tunnel.",
        ),
    ] = "http://127.0.0.1:8265",
    overrides: SetOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show what the job prints and end with its exit status.")
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop the job that runs this; submit it again to go on.")
    ] = False,
    working_dir: Annotated[
        str,
        typer.Option(
            help="Folder to upload; the job spec must be in it. local:///PATH: every node has it, send nothing."
        ),
    ] = ".",
    runtime_env: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Ray runtime environment; default: jobs/runtime_env.yaml of the working directory."
        ),
    ] = None,
    root: Annotated[
        str | None, typer.Option(help="Folder that every node sees; relative paths in the job mean it.")
    ] = None,
    max_upload_mib: Annotated[float, typer.Option(min=0.0, help="Refuse to upload more than this.")] = 64.0,
) -> None:
    """Check a job here, then run it on a Ray cluster; the same command resumes a run that was stopped or failed.

    A cluster with an autoscaler starts nodes for `elastic.max_workers` and takes them away when the job has ended.
    Ctrl-C ends --follow, not the job.
    """
    from w2v2_ray.errors import UserError
    from w2v2_ray.orchestration.submission.request import surroundings
    from w2v2_ray.orchestration.submission.server import JobServer, in_the_open

    place = surroundings(working_dir, runtime_env, root, max_upload_mib)
    request = _request(place, job, arguments or [], overrides or [])
    if in_the_open(address):
        typer.secho(
            f"warning: {address} is a public address without encryption: Ray's job server runs any code sent to it; "
            "bind it to 127.0.0.1 and use an SSH tunnel",
            err=True,
            fg=typer.colors.YELLOW,
        )
    server = JobServer(address)
    if stop:
        live = server.live_job_of(request.run)
        if live is None:
            raise UserError(f"{request.run}: no job on {address} is running this; nothing to stop")
        typer.echo(f"{live.submission_id}: {server.stop(live.submission_id)}")
        return
    name = server.submit(request)
    typer.echo(
        f"submitted {name}: {request.entrypoint} ({request.upload.num_bytes / 2**20:.1f} MiB uploaded)", err=True
    )
    if not follow:
        typer.echo(name)
        return
    _follow(server, name)


def _follow(server: JobServer, name: str) -> None:
    from w2v2_ray.orchestration.submission.server import exit_status

    try:
        details = server.follow(name, lambda text: typer.echo(text, nl=False))
    except KeyboardInterrupt:
        typer.echo(
            f"\nno longer following; job {name} goes on. Follow: ray job logs --follow {name} --address "
            f"{server.address}; stop: the same command with --stop instead of --follow",
            err=True,
        )
        raise typer.Exit(_INTERRUPTED) from None
    status = exit_status(details)
    if status:
        code = "" if details.driver_exit_code is None else f", exit code {details.driver_exit_code}"
        reason = "" if details.driver_exit_code is not None else f": {(details.message or '').strip()[:500]}"
        typer.echo(f"job {name}: {details.status}{code}{reason}", err=True)
    raise typer.Exit(status)


def _request(place: Surroundings, job: str, arguments: list[str], overrides: list[str]) -> JobRequest:
    from w2v2_ray.cli.output import print_warnings
    from w2v2_ray.errors import UserError
    from w2v2_ray.orchestration.submission.request import command_request, job_request
    from w2v2_ray.spec.loading import load_job

    if job in _COMMANDS:
        if overrides:
            raise UserError(f"--set: `{job}` has no spec; give its own options after --")
        _check_arguments(job, arguments)
        return command_request(place, job, arguments)
    if arguments:
        raise UserError(f"{' '.join(arguments)}: a job spec takes no arguments; change fields with --set PATH=VALUE")
    loaded = load_job(job, overrides)
    print_warnings(loaded.warnings)
    return job_request(place, Path(job), loaded.job, overrides)


def _check_arguments(command: str, arguments: list[str]) -> None:
    """Parse them as the command itself will; mistakes end here, with its own message."""
    alone = typer.Typer(add_completion=False)
    alone.command(command)(_COMMANDS[command])
    typer.main.get_command(alone).make_context(f"w2v2-ray {command}", list(arguments))
