"""Keeps a worker that was given up for dead from writing into a run that goes on without it.

A stopped or partitioned worker may wake after its successors have started. Every attempt writes its token into the
run's folder; who finds another one there has been superseded.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

from w2v2_ray.durable import write_text

ATTEMPT_FILE = ".attempt.json"


class SupersededError(Exception):
    """A newer attempt has taken the run over. Not one of ours on purpose: nobody is to be told, or to give up."""


class Fence:
    """One attempt's right to write to a run.

    Args:
        folder: The run's folder.
        token: The attempt's name, the same on all its workers.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self._path = folder / ATTEMPT_FILE
        self.token = token

    @classmethod
    def take(cls, folder: Path) -> Fence:
        """Take a run over from all earlier attempts. On worker 0, before anything of the run is read."""
        fence = cls(folder, uuid.uuid4().hex[:8])
        write_text(fence._path, json.dumps({"attempt": fence.token, "time": round(time.time(), 3)}))
        return fence

    def holds(self) -> bool:
        """Whether the run is still this attempt's. While the storage cannot be read, it is taken to be."""
        try:
            content = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return True
        return bool(content.get("attempt") == self.token)

    def check(self) -> None:
        """Go no further when a newer attempt has the run.

        Raises:
            SupersededError: When it has.
        """
        if not self.holds():
            raise SupersededError(f"{self._path.parent}: a newer attempt than {self.token} has taken this run over")
