"""The live display of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from w2v2_ray.engine.run_folder import RunFolder
    from w2v2_ray.spec.job import TrainJob

_PLAIN_LINES = 20
"""Lines over a whole run when the output is not a terminal."""


def describe(record: dict[str, Any]) -> str:
    """One metrics record in a line."""
    if "code_perplexity" in record:
        learned = (
            f"loss {record['loss']:.3f} bits  accuracy {record['accuracy']:.3f}  perplexity "
            f"{record['code_perplexity']:.0f}/{record['prob_perplexity']:.0f}"
        )
    else:
        learned = f"loss {record['loss']:.2f}  gradient {record['grad_norm']:.2f}"
    speed = f"{record['frames_per_s']:,.0f} frames/s  workers {record['world_size']}"
    return f"{learned}  {speed}".replace(",", " ")


@contextmanager
def show_training(job: TrainJob, run: RunFolder, console: Console) -> Iterator[None]:
    """Show update, loss, accuracy, perplexities, speed and time left while the block runs.

    On a terminal this is a live bar, elsewhere (a log file, `ray job logs`) a line every few per cent.
    """
    from w2v2_ray.orchestration.progress import MetricsFollower

    columns = (
        TextColumn("update"),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    every = max(1, job.updates // _PLAIN_LINES)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("starting workers", total=job.updates)

        def show(record: dict[str, Any]) -> None:
            progress.update(bar, completed=record["update"], description=describe(record))
            if not console.is_terminal and (record["update"] % every == 0 or record["update"] in (1, job.updates)):
                console.print(
                    f"update {record['update']}/{job.updates}  {describe(record)}", highlight=False, soft_wrap=True
                )

        with MetricsFollower(run.metrics, show):
            yield
