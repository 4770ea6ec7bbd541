"""`w2v2-ray demo`: the whole way from nothing to a trained model, on synthesised speech."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEMO_UTTERANCES = 900


def demo(
    folder: Annotated[Path, typer.Option(help="Where to put the corpus, the dataset and the run.")] = Path("demo"),
    job: Annotated[Path, typer.Option(help="Job spec to train.")] = Path("jobs/demo_pretrain.yaml"),
    utterances: Annotated[int, typer.Option(min=20, help="Utterances to synthesise.")] = DEMO_UTTERANCES,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a field of the spec.")
    ] = None,
) -> None:
    """Synthesise speech, prepare it, validate and plan a job, pre-train a small Hourglass model, draw its curves.

    Every step is the command a user would type; it is printed before it runs, and done again only where needed.
    """
    from rich.console import Console

    from w2v2_ray.cli import demo_steps

    demo_steps.run(Console(), folder, job, utterances, overrides or [])
