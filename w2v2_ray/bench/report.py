"""What a benchmark leaves behind: one JSON file with everything, one Markdown table to quote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2v2_ray.bench.rounds import CellResult
from w2v2_ray.errors import StorageError
from w2v2_ray.places.durable import write_text
from w2v2_ray.reporting.spread import Spread


@dataclass(frozen=True)
class Column:
    """A figure of the table.

    Attributes:
        heading: Above it.
        figure: Its key among a cell's figures.
        scale: Figures are multiplied by it.
        digits: After the point.
    """

    heading: str
    figure: str
    scale: float = 1.0
    digits: int = 2

    def shown(self, spread: Spread) -> str:
        """Median (lowest to highest)."""
        median, low, high = (
            f"{value * self.scale:.{self.digits}f}" for value in (spread.median, spread.low, spread.high)
        )
        return median if low == high else f"{median} ({low}..{high})"


@dataclass(frozen=True)
class Ratio:
    """A column that compares the medians of a figure with those of a peer's cell.

    Attributes:
        heading: Above it.
        figure: Its key among a cell's figures.
        peer: Labels that the peer's cell has in place of the cell's own.
    """

    heading: str
    figure: str
    peer: dict[str, str]


@dataclass(frozen=True)
class BenchReport:
    """A finished benchmark."""

    name: str
    command: str
    machine: dict[str, Any]
    results: list[CellResult]
    columns: Sequence[Column]
    ratios: Sequence[Ratio] = ()
    notes: Sequence[str] = field(default_factory=list)

    def markdown(self) -> str:
        """A heading, machine and command, the table, notes."""
        labels = list(self.results[0].cell.labels)
        headings = [*labels, *(c.heading for c in self.columns), *(r.heading for r in self.ratios)]
        rows = [[*result.cell.labels.values(), *self._figures(result)] for result in self.results]
        aligned = ["---"] * len(labels) + ["---:"] * (len(headings) - len(labels))
        table = [headings, aligned, *rows]
        machine = self.machine
        versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
        features = " ".join(machine["cpu_features"])
        head = [
            f"## {self.name}",
            "",
            f"{machine['time_utc']} UTC; {machine['cores']} cores of {machine['cpu']} ({features}), "
            f"{machine['memory_bytes'] / 2**30:.0f} GiB"
            + (f", {machine['gpu']}" if machine["gpu"] else "")
            + f"; load average at start {machine['load_average'][0]:g}; {versions}.",
            f"`{self.command}`",
            "",
        ]
        lines = ["| " + " | ".join(row) + " |" for row in table]
        notes = ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join([*head, *lines, *notes, ""])

    def as_dict(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "name": self.name,
            "command": self.command,
            "machine": self.machine,
            "notes": list(self.notes),
            "cells": [result.as_dict() for result in self.results],
        }

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write NAME.json and NAME.md.

        Raises:
            StorageError: They cannot be written.
        """
        paths = folder / f"{self.name}.json", folder / f"{self.name}.md"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(paths[0], json.dumps(self.as_dict(), indent=2) + "\n")
            write_text(paths[1], self.markdown())
        except OSError as error:
            raise StorageError(f"{folder}: the report cannot be written: {error.strerror or error}") from error
        return paths

    def _figures(self, result: CellResult) -> list[str]:
        known = [c.shown(result.spread(c.figure)) if c.figure in result.repeats[0] else "" for c in self.columns]
        return known + [self._ratio(result, ratio) for ratio in self.ratios]

    def _ratio(self, result: CellResult, ratio: Ratio) -> str:
        wanted = {**result.cell.labels, **ratio.peer}
        if wanted == result.cell.labels or ratio.figure not in result.repeats[0]:
            return ""
        for peer in self.results:
            if peer.cell.labels == wanted:
                return f"{result.spread(ratio.figure).median / peer.spread(ratio.figure).median:.2f}"
        return ""
