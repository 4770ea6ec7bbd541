"""Small files by which the processes of a run tell each other something: who may write, what is wanted, what failed.

On a file system that all see they are files. On an object store (`remote.notes`) they are objects.
"""

from __future__ import annotations

from pathlib import Path

from w2v2_ray.places.durable import write_text


class RunNotes:
    """Notes of one run, by name, on a file system.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, text: str) -> None:
        """Leave a note; an earlier one of that name is replaced in one step.

        Raises:
            OSError: When the storage cannot be written.
        """
        write_text(self._folder / name, text)

    def read(self, name: str) -> str | None:
        """A note's text, or None when there is none.

        Raises:
            OSError: When the storage cannot be read.
        """
        try:
            return (self._folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """Take a note back, if it is there.

        Raises:
            OSError: When the storage cannot be written.
        """
        (self._folder / name).unlink(missing_ok=True)

    def recent(self, name: str) -> str | None:
        """The same as `read`, but never waits for a network: on an object store, as of some seconds ago.

        Raises:
            OSError: When the storage cannot be read.
        """
        return self.read(name)
