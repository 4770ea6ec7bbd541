"""A progress bar for commands that count files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class CountProgress(Protocol):
    """Moves the bar."""

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` are done."""
        ...


@contextmanager
def progress_bar(label: str, unit: str) -> Iterator[CountProgress]:
    """Show a bar on the terminal's standard error while the block runs; nothing where that is no terminal.

    Args:
        label: What goes on.
        unit: What is counted.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task(label, total=None)

        def move(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        yield move
