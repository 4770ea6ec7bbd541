"""Audio that lies within another file: members of tar archives, cells of Parquet and Arrow tables."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from w2v2_ray.data.rejection import RejectReason, reject

Container = Literal["tar", "parquet", "arrow"]


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


_COPIES: dict[object, Any] = {}
"""The copy that was used last."""


@contextmanager
def audio_path(path: str, member: Member | None) -> Iterator[str]:
    """A file that a decoder can open: the file itself, or a copy of what lies within it, for this block.

    Args:
        path: The file.
        member: What of it; None for the whole.

    Raises:
        AudioError: It is not there.
    """
    if member is None:
        yield path
        return
    try:
        status = os.stat(path)
    except OSError:
        status = None  # reported by name below
    key = (path, status and (status.st_ino, status.st_size, status.st_mtime_ns), member)
    copy = _COPIES.pop(key, None)
    if copy is None:
        copy = tempfile.NamedTemporaryFile(prefix="w2v2-ray-", suffix=Path(member.name).suffix[:8])  # noqa: SIM115
        copy.write(_content(path, member))
        copy.flush()
    yield copy.name
    # Kept for the next piece of the same recording; it is removed once nothing holds it.
    _COPIES.clear()
    _COPIES[key] = copy


def _content(path: str, member: Member) -> bytes:
    try:
        status = os.stat(path)
        if member.container == "tar":
            with open(path, "rb") as file:
                file.seek(member.place)
                content = file.read(member.extent)
            if len(content) < member.extent:
                raise reject(RejectReason.TRUNCATED, f"the archive ends within {member.name}")
            return content
        cells = _cells(path, status.st_mtime_ns, member.container, member.place, member.column)
    except FileNotFoundError:
        raise reject(RejectReason.MISSING, "there is no such file") from None
    except OSError as error:
        raise reject(RejectReason.UNREADABLE, error.strerror or str(error)) from error
    except ValueError as error:  # Arrow's errors are
        raise reject(RejectReason.UNREADABLE, str(error).splitlines()[0]) from error
    cell: Any = cells[member.extent].as_py()
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    if not cell:
        raise reject(RejectReason.EMPTY, f"row {member.extent} of {member.column} holds no bytes")
    return bytes(cell)


@lru_cache(maxsize=2)
def _cells(path: str, modified_ns: int, container: Container, place: int, column: str) -> Any:
    """One column of a row group or batch: the items of a shard follow one another, so it is read once."""
    if container == "parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            return file.read_row_group(place, columns=[column]).column(column)
    import pyarrow as pa

    with pa.memory_map(path) as file:
        for number, batch in enumerate(arrow_batches(file)):
            if number == place:
                return batch.column(column)
    raise ValueError(f"there is no batch {place}")


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
