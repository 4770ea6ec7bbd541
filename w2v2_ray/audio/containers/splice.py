"""A file of which some bytes are others, without a copy of it."""

from __future__ import annotations

import io
import mmap
import os
from itertools import accumulate
from pathlib import Path

from w2v2_ray.audio.containers.promise import Parts

Content = mmap.mmap | bytes
"""The bytes of a whole file."""


_SMALL_BYTES = 16 * 2**20
_WINDOW_BYTES = 64 * 2**20


def find_through(content: Content, wanted: bytes, start: int) -> int:
    """Where some bytes are from a place on, or -1; of a file of hours no more than a window stays in memory."""
    for first in range(start, len(content), _WINDOW_BYTES):
        found = content.find(wanted, first, first + _WINDOW_BYTES + len(wanted) - 1)
        if found >= 0:
            return found
        page = first // mmap.PAGESIZE * mmap.PAGESIZE
        if isinstance(content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            content.madvise(mmap.MADV_DONTNEED, page, min(_WINDOW_BYTES, len(content) - page))
    return -1


def spliced(path: Path, parts: Parts) -> io.RawIOBase | io.BytesIO:
    """A file of which some bytes are others: in memory where it is small, which decoders read faster."""
    whole = SplicedFile(path, parts)
    if whole.size > _SMALL_BYTES:
        return whole
    with whole:
        return io.BytesIO(whole.read(whole.size))


class SplicedFile(io.RawIOBase):
    """Byte strings and spans of one file, read one after the other.

    Args:
        path: The file.
        parts: Bytes, or (offset, length) within the file.
    """

    def __init__(self, path: Path, parts: Parts) -> None:
        self._file = path.open("rb")
        self._parts = parts
        sizes = (len(part) if isinstance(part, bytes) else part[1] for part in parts)
        self._starts = list(accumulate(sizes, initial=0))
        self._position = 0

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return self._starts[-1]

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start, the current place or the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def readinto(self, buffer: object) -> int:
        """Fill a buffer as far as the parts reach."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        done = 0
        for part, start, end in zip(self._parts, self._starts, self._starts[1:], strict=False):
            if not start <= self._position < end or done == len(view):
                continue
            offset, count = self._position - start, min(end - self._position, len(view) - done)
            if isinstance(part, bytes):
                chunk = part[offset : offset + count]
            else:
                self._file.seek(part[0] + offset)
                chunk = self._file.read(count)
            view[done : done + len(chunk)] = chunk
            done += len(chunk)
            self._position += len(chunk)
        return done

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
