"""Rounds over all cells, each cell in a fresh process: A B C, A B C, so that a busy minute hits everyone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from w2v2_ray.errors import RunFailedError, UserError
from w2v2_ray.reporting.spread import Spread

_TIMEOUT_S = 3600
_TAIL_LINES = 12


@dataclass(frozen=True)
class Cell:
    """One thing to measure.

    Attributes:
        labels: What it is, by column heading.
        measure: `module:function` that takes the settings and returns figures.
        settings: What the function is given; JSON.
    """

    labels: dict[str, str]
    measure: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CellResult:
    """What the repeats of a cell found, in order."""

    cell: Cell
    repeats: list[dict[str, Any]]

    def spread(self, figure: str) -> Spread:
        """One figure over the repeats."""
        return Spread.of([float(found[figure]) for found in self.repeats])

    def as_dict(self) -> dict[str, Any]:
        """For the JSON report."""
        return {"labels": self.cell.labels, "settings": self.cell.settings, "repeats": self.repeats}


def run_child(measure: str, settings: dict[str, Any], timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
    """Measure once, in a fresh process.

    Raises:
        UserError: What the process said about its input.
        RunFailedError: The process died; the message ends with its last lines.
    """
    request = json.dumps({"measure": measure, "settings": settings})
    command = [sys.executable, "-m", "w2v2_ray.bench.child"]
    try:
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise RunFailedError(f"{measure}: not done after {timeout_s:.0f} s ({settings})") from None
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-_TAIL_LINES:])
        raise RunFailedError(f"{measure}: ended with code {done.returncode} ({settings})\n{tail}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise UserError(str(answer["error"]))
    return answer


def run_rounds(cells: Sequence[Cell], repeats: int, notify: Callable[[str], None]) -> list[CellResult]:
    """Measure every cell `repeats` times, round by round.

    Args:
        cells: What to measure.
        repeats: Rounds.
        notify: Is told what was just measured.

    Raises:
        UserError: A cell cannot be measured as asked.
        RunFailedError: A process died.
    """
    results = [CellResult(cell, []) for cell in cells]
    for number in range(1, repeats + 1):
        for result in results:
            found = run_child(result.cell.measure, result.cell.settings)
            result.repeats.append(found)
            shown = ", ".join(f"{key} {value:.4g}" for key, value in found.items() if isinstance(value, float))
            notify(f"[{number}/{repeats}] {' '.join(result.cell.labels.values())}: {shown}")
    return results
