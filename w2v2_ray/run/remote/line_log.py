"""A file that grows by lines, kept on an object store as numbered parts that stay and a last one that is put again.

`metrics.jsonl` of up to 32 MiB is one object of that name. What is longer lies in `metrics-00000.jsonl`, ... of about
that size each, and its end in `metrics.jsonl`: a put costs 32 MiB at most, however long the run.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from w2v2_ray.errors import StorageError
from w2v2_ray.places.storage import Location, StoredFile

PART_BYTES = 32 * 2**20


class LineLog:
    """One such file. One process writes it.

    Args:
        local: The file on this node.
        folder: The run on the store.
        part_bytes: Size of the parts.
    """

    def __init__(self, local: Path, folder: Location, part_bytes: int = PART_BYTES) -> None:
        self._local = local
        self._folder = folder
        self._part_bytes = part_bytes
        self._inode: int | None = None
        self._frozen = 0
        self._parts = 0
        self._put = -1
        self._got: StoredFile | None = None

    def push(self) -> bool:
        """Put what is new; whether anything was. A file that was rewritten is put anew.

        Raises:
            StorageError: The storage refuses.
            StorageUnavailableError: It does not answer.
        """
        try:
            with self._local.open("rb") as file:
                status = os.fstat(file.fileno())
                size = status.st_size
                rewritten = status.st_ino != self._inode or size < self._put
                if size == self._put and not rewritten:
                    return False
                if rewritten:
                    self._frozen = self._parts = 0
                file.seek(self._frozen)
                rest = file.read(size - self._frozen)
        except FileNotFoundError:
            return False
        while len(rest) > self._part_bytes:
            cut = rest.rfind(b"\n", 0, self._part_bytes) + 1 or len(rest)
            self._part(self._parts).write_bytes(rest[:cut])
            self._parts, self._frozen, rest = self._parts + 1, self._frozen + cut, rest[cut:]
        (self._folder / self._local.name).write_bytes(rest)
        if rewritten:
            for number in self._stale_parts():
                self._part(number).delete()
        self._inode, self._put = status.st_ino, size
        return True

    def pull(self) -> None:
        """Replace the local file with what is on the store; without anything there, it goes.

        Raises:
            StorageError: The storage refuses.
            StorageUnavailableError: It does not answer.
        """
        content = self.read()
        if content is None:
            self._local.unlink(missing_ok=True)
            return
        self._local.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._local.with_name(f".{self._local.name}.{os.getpid()}.tmp")
        temporary.write_bytes(content)
        temporary.replace(self._local)

    def pull_if_changed(self) -> None:
        """The same, but only when its end has changed since this object last looked."""
        found = (self._folder / self._local.name).stat()
        if found is not None and found != self._got:
            self.pull()
            self._got = found

    def read(self) -> bytes | None:
        """All of it, put together; None when there is nothing."""
        parts = [self._part(number).read_bytes() for number in self._numbers()]
        try:
            end = (self._folder / self._local.name).read_bytes()
        except StorageError:
            if not parts and not (self._folder / self._local.name).exists():
                return None
            raise
        # Killed between the put of a part and that of the end, the writer left the part's lines there too.
        if not parts or not (end and parts[-1].startswith(end)):
            parts.append(end)
        return b"".join(_current(parts))

    def _part(self, number: int) -> Location:
        return self._folder / f"{self._local.stem}-{number:05d}{self._local.suffix}"

    def _numbers(self) -> list[int]:
        prefix, suffix = f"{self._local.stem}-", self._local.suffix
        found = (
            name.removeprefix(prefix).removesuffix(suffix)
            for name in self._folder.names()
            if name.startswith(prefix) and name.endswith(suffix)
        )
        return sorted(int(number) for number in found if len(number) == 5 and number.isdecimal())

    def _stale_parts(self) -> list[int]:
        return [number for number in self._numbers() if number >= self._parts]


def _current(parts: list[bytes]) -> list[bytes]:
    """Leave out parts of before a rewind that were not deleted in time: a later one begins at or before their start."""
    kept: list[bytes] = []
    earliest = math.inf
    for part in reversed(parts):
        first = _first_update(part)
        if first is None or first < earliest:
            kept.append(part)
            earliest = earliest if first is None else first
    return kept[::-1]


def _first_update(part: bytes) -> int | None:
    try:
        return int(json.loads(part.partition(b"\n")[0])["update"])
    except (ValueError, KeyError, TypeError):
        return None
