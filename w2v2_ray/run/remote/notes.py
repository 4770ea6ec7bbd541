"""Notes of a run as objects of a store."""

from __future__ import annotations

import threading
from pathlib import Path

from w2v2_ray.errors import StorageError
from w2v2_ray.places.storage import Location
from w2v2_ray.run.notes import RunNotes


class RemoteNotes(RunNotes):
    """Notes of one run; puts and gets of one object each are all or nothing.

    Args:
        location: The run.
        work: Its working folder on this node.
    """

    def __init__(self, location: Location, work: Path) -> None:
        super().__init__(work)
        self._location = location
        self._lock = threading.Lock()
        self._seen: dict[str, str | None] = {}

    def write(self, name: str, text: str) -> None:
        """Put the object."""
        (self._location / name).write_bytes(text.encode())

    def read(self, name: str) -> str | None:
        """Get the object."""
        place = self._location / name
        try:
            return place.read_bytes().decode()
        except StorageError:
            if place.exists():
                raise
            return None

    def delete(self, name: str) -> None:
        """Delete the object."""
        (self._location / name).delete()

    def recent(self, name: str) -> str | None:
        """What `look` last saw; looks itself the first time."""
        with self._lock:
            if name in self._seen:
                return self._seen[name]
        self.look(name)
        return self._seen[name]

    def look(self, *names: str) -> None:
        """Read notes for `recent`; without names, those it was asked for before. The mirror calls it."""
        for name in names or tuple(self._seen):
            text = self.read(name)
            with self._lock:
                self._seen[name] = text
