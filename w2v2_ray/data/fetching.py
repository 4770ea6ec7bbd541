"""Audio that lies elsewhere, in a store or within another file, as files that a decoder can open."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.members import Member, content_of, missing_is_rejected
from w2v2_ray.places.stores import file_at, is_uri

_AT_ONCE = 8
_AHEAD = 16
"""LocalFiles that wait: no more than a few recordings lie on the disk."""

_Key = tuple[str, Member | None]


class LocalFiles:
    """Gives the file of each of some items; make it with `local_files`.

    A copy is kept until another is asked for, since the pieces of one recording follow one another. Those from a store
    are fetched ahead by threads: it answers late, but many at once.
    """

    def __init__(self, items: Sequence[SourceItem]) -> None:
        self._waiting: deque[_Key] = deque()
        for item in items:
            key = (item.path, item.member)
            if item.problem is None and is_uri(item.path) and (not self._waiting or self._waiting[-1] != key):
                self._waiting.append(key)
        self._pool = ThreadPoolExecutor(_AT_ONCE) if self._waiting else None
        self._coming: dict[_Key, Future[Any]] = {}
        self._last: tuple[_Key, Any] | None = None

    @contextmanager
    def path(self, item: SourceItem) -> Iterator[str]:
        """A file that a decoder can open, for this block.

        Raises:
            AudioError: There is none.
            StorageError: The store does not answer, or denies access.
        """
        key = (item.path, item.member)
        if item.member is None and not is_uri(item.path):
            yield item.path
            return
        if self._last is None or self._last[0] != key:
            self._last = None  # which removes the copy from the disk
            self._last = (key, self._fetched(key))
        yield self._last[1].name

    def close(self) -> None:
        """Remove all copies, and fetch no more."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._coming.clear()
        self._last = None

    def _fetched(self, key: _Key) -> Any:
        while self._pool is not None and self._waiting and len(self._coming) < _AHEAD:
            coming = self._waiting.popleft()
            if coming not in self._coming:
                self._coming[coming] = self._pool.submit(_copy, *coming)
        future = self._coming.pop(key, None)
        return _copy(*key) if future is None else future.result()


@contextmanager
def local_files(items: Sequence[SourceItem]) -> Iterator[LocalFiles]:
    """LocalFiles of items that will be asked for in this order; they are removed at the end."""
    files = LocalFiles(items)
    try:
        yield files
    finally:
        files.close()


def _copy(path: str, member: Member | None) -> Any:
    """A temporary file that goes away once nothing holds it."""
    suffix = Path(member.name if member is not None else file_at(path).path).suffix[:8]
    copy = tempfile.NamedTemporaryFile(prefix="w2v2-ray-", suffix=suffix)  # noqa: SIM115
    if member is not None:
        copy.write(content_of(path, member))
        copy.flush()
        return copy
    with missing_is_rejected():
        file_at(path).download(Path(copy.name))
    return copy
