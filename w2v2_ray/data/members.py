"""Audio that lies within another file: members of tar archives, cells of Parquet and Arrow tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from w2v2_ray.audio.rejection import RejectReason, reject
from w2v2_ray.errors import StorageError
from w2v2_ray.places.stores import file_at, is_uri

Container = Literal["tar", "parquet", "arrow"]


NOT_IN_STORE = "there is no such file in the store"


@dataclass(frozen=True, slots=True)
class Member:
    """Where audio lies within a file.

    Attributes:
        container: What the file is.
        name: Of the member, with the suffix of its audio; empty where it has none.
        place: Offset in bytes (tar), or number of the row group or batch.
        extent: Length in bytes (tar), or number of the row within.
        column: Of the cell; empty for a tar archive.
    """

    container: Container
    name: str
    place: int
    extent: int
    column: str = ""


@contextmanager
def missing_is_rejected() -> Iterator[None]:
    """Within the block, a file that is not in its store is one to leave out; whatever else fails there stays an error.

    Raises:
        AudioError: There is no such file.
    """
    try:
        yield
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise reject(RejectReason.MISSING, NOT_IN_STORE) from None
        raise


def content_of(path: str, member: Member) -> bytes:
    """The bytes of a member of a file, which may be in a store; no more of it is read than that takes.

    Raises:
        AudioError: It is not there.
        StorageError: The store does not answer, or denies access.
    """
    if is_uri(path):
        with missing_is_rejected():
            return file_at(path).read_from(lambda file: _content(file, path, member))
    try:
        with _mapped(path) if member.container == "arrow" else open(path, "rb") as file:
            return _content(file, f"{path} {os.stat(path).st_mtime_ns}", member)
    except FileNotFoundError:
        raise reject(RejectReason.MISSING, "there is no such file") from None
    except OSError as error:
        raise reject(RejectReason.UNREADABLE, error.strerror or str(error)) from error


def _content(file: Any, identity: str, member: Member) -> bytes:
    if member.container == "tar":
        file.seek(member.place)
        content = bytes(file.read(member.extent))
        if len(content) < member.extent:
            raise reject(RejectReason.TRUNCATED, f"the archive ends within {member.name}")
        return content
    key = (identity, member.container, member.place, member.column)
    try:
        if key not in _CELLS:
            _CELLS.clear()
            _CELLS[key] = _cells(file, member)
    except ValueError as error:  # Arrow's errors are
        raise reject(RejectReason.UNREADABLE, str(error).splitlines()[0]) from error
    cell: Any = _CELLS[key][member.extent].as_py()
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    if not cell:
        raise reject(RejectReason.EMPTY, f"row {member.extent} of {member.column} holds no bytes")
    return bytes(cell)


def _mapped(path: str) -> Any:
    """A file of whose batches only the one that is wanted is read."""
    import pyarrow as pa

    return pa.memory_map(path)


_CELLS: dict[tuple[str, Container, int, str], Any] = {}
"""The column of the row group or batch read last: the items of a shard follow one another, so it is read once."""


def _cells(file: Any, member: Member) -> Any:
    if member.container == "parquet":
        import pyarrow.parquet as pq

        return pq.ParquetFile(file).read_row_group(member.place, columns=[member.column]).column(member.column)
    for number, batch in enumerate(arrow_batches(file)):
        if number == member.place:
            return batch.column(member.column)
    raise ValueError(f"there is no batch {member.place}")


def arrow_batches(file: Any) -> Iterator[Any]:
    """Batches of an Arrow file in either form; `datasets` writes the stream."""
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        yield from pa.ipc.open_stream(file)
        return
    for number in range(reader.num_record_batches):
        yield reader.get_batch(number)
