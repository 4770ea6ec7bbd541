"""What one trial gave: figures, or the reason why there are none. One small JSON file each.

The files, not Ray Tune's own records, are what a sweep resumes from and reports on: they can be read without Ray, and
a trial that was measured is not measured again whatever became of the driver.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from w2v2_ray.places.durable import write_text

Status = Literal["ok", "out_of_memory", "not_finite", "timed_out", "crashed"]
STATUSES: tuple[Status, ...] = get_args(Status)
WORDS: dict[Status, str] = {
    "ok": "measured",
    "out_of_memory": "out of memory",
    "not_finite": "not finite",
    "timed_out": "timed out",
    "crashed": "crashed",
}
"""How a status reads in a table."""


@dataclass(frozen=True)
class Measurement:
    """One trial of one point.

    Attributes:
        key: The point's.
        repeat: From 0.
        status: How it ended.
        reason: Why there are no figures, or None.
        figures: What was measured, by name.
        started: Seconds since the epoch.
        wall_s: How long the trial took, start of the process included.
        concat: Of a search for the largest, the value tried.
    """

    key: str
    repeat: int
    status: Status
    reason: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    wall_s: float = 0.0
    concat: int | None = None

    @property
    def ok(self) -> bool:
        """Whether there are figures."""
        return self.status == "ok"

    @property
    def file_name(self) -> str:
        """Name of its file."""
        tried = f"-concat{self.concat}" if self.concat is not None else ""
        return f"{self.key}{tried}-{self.repeat}.json"


class Measurements:
    """The measurements of a sweep, in a folder that every node sees.

    Args:
        folder: Made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, measurement: Measurement) -> None:
        """Keep one; the file is there whole or not at all."""
        text = json.dumps(measurement.__dict__, indent=1, allow_nan=True)
        write_text(self.folder / measurement.file_name, text + "\n")

    def find(self, key: str, repeat: int, concat: int | None = None) -> Measurement | None:
        """One that was made before, or None."""
        path = self.folder / Measurement(key, repeat, "ok", concat=concat).file_name
        return _read(path) if path.exists() else None

    def __iter__(self) -> Iterator[Measurement]:
        """All, in the order in which they were started."""
        found = [_read(path) for path in self.folder.glob("*.json")]
        return iter(sorted((entry for entry in found if entry is not None), key=lambda entry: entry.started))


def _read(path: Path) -> Measurement | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        measurement = Measurement(**document)
    except (ValueError, TypeError):
        return None  # not ours, or damaged: measured again
    return measurement if measurement.status in STATUSES else None
