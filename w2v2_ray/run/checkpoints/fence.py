"""Keeps a worker that was given up for dead from writing into a run that goes on without it.

A stopped or partitioned worker may wake after its successors have started. Every attempt writes its token into the
run's folder; who finds another one there has been superseded.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable

from w2v2_ray.errors import StorageError
from w2v2_ray.run import names
from w2v2_ray.run.notes import RunNotes


class SupersededError(Exception):
    """A newer attempt has taken the run over. Not one of ours on purpose: nobody is to be told, or to give up."""


class Fence:
    """One attempt's right to write to a run.

    Args:
        notes: The run's.
        token: The attempt's name, the same on all its workers.
    """

    def __init__(self, notes: RunNotes, token: str) -> None:
        self._notes = notes
        self.token = token

    @classmethod
    def take(cls, notes: RunNotes) -> Fence:
        """Take a run over from all earlier attempts. On worker 0, before anything of the run is read."""
        fence = cls(notes, uuid.uuid4().hex[:8])
        notes.write(names.ATTEMPT, json.dumps({"attempt": fence.token, "time": round(time.time(), 3)}))
        return fence

    def holds(self) -> bool:
        """Whether the run is still this attempt's. While the storage cannot be read, it is taken to be."""
        return self._is_ours(self._notes.read)

    def _is_ours(self, read: Callable[[str], str | None]) -> bool:
        try:
            content = json.loads(read(names.ATTEMPT) or "")
        except (OSError, ValueError, StorageError):
            return True
        return bool(content.get("attempt") == self.token)

    def check(self) -> None:
        """Go no further when a newer attempt has the run. On an object store as of some seconds ago: it never waits.

        Raises:
            SupersededError: When it has.
        """
        if not self._is_ours(self._notes.recent):
            raise SupersededError(f"a newer attempt than {self.token} has taken this run over")
