"""The `w2v2-ray` command: registers the commands and turns errors into exit codes.

Each command lives in its own module, which imports nothing heavy until the command runs: `validate` must answer at
once, without torch or ray.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from w2v2_ray import __version__
from w2v2_ray.cli import (
    bench,
    demo,
    evaluate,
    export,
    extract,
    import_command,
    inspect,
    jobs,
    layout,
    lm,
    plan,
    prepare,
    report,
    schema,
    status,
    submit,
    synth,
    train,
    transcribe,
    tune,
    unpack,
    validate,
)
from w2v2_ray.cli.output import print_error
from w2v2_ray.errors import W2v2RayError

INTERRUPTED = 130


class _Group(TyperGroup):
    """Exit 0 done, 2 the user's input is wrong, 1 the run failed. A traceback means a bug, and exits 1 too."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command and turn what it raises on purpose into one message."""
        try:
            return super().invoke(ctx)
        except W2v2RayError as error:
            print_error(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo(
                "\ninterrupted; a training run or sweep continues when the same command is given again", err=True
            )
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="w2v2-ray",
    cls=_Group,
    help="Elastic wav2vec 2.0 training with the Hourglass Transformer on Ray and DeepSpeed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"w2v2-ray {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("prepare")(prepare.prepare)
app.command("layout")(layout.layout)
app.command("inspect")(inspect.inspect_command)
app.command("unpack")(unpack.unpack)
app.command("synth")(synth.synth)
app.command("validate")(validate.validate)
app.command("jobs")(jobs.jobs)
app.command("plan")(plan.plan)
app.command("schema")(schema.schema)
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("status")(status.status)
app.command("report")(report.report)
app.command("evaluate")(evaluate.evaluate)
app.command("lm")(lm.lm)
app.command("transcribe")(transcribe.transcribe)
app.command("extract")(extract.extract)
app.command("import")(import_command.import_command)
app.command("export")(export.export)
app.command("submit")(submit.submit)
app.add_typer(bench.bench, name="bench")
app.command("demo")(demo.demo)


def main() -> None:
    """Entry point of the console script."""
    app()
