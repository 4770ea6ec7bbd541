"""One worker's share of a training state on disk: a safetensors file of 1-D fp32 pieces that can check itself.

Any safetensors reader can open it. Keys are `kind/start/parameter name`: which of weight, exp_avg and exp_avg_sq, and
where in the flattened parameter the piece begins. The header's metadata holds a CRC-32 of header and data, since a
share is read in slices by whoever needs them and a flipped bit would otherwise go unseen. We write the file ourselves
because the library's writer copies every byte once more in memory; for reading the library is used.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from w2v2_ray.errors import CheckpointError

_CHUNK_BYTES = 1 << 24
_NO_CRC = "00000000"


@dataclass(frozen=True)
class Piece:
    """Elements start to stop of one kind of state of a flattened parameter.

    Attributes:
        kind: weight, exp_avg or exp_avg_sq.
        name: The parameter's name.
        start: First element.
        numel: How many.
    """

    kind: str
    name: str
    start: int
    numel: int

    @property
    def stop(self) -> int:
        """One past the last element."""
        return self.start + self.numel

    @property
    def key(self) -> str:
        """The name of its tensor in the file."""
        return f"{self.kind}/{self.start}/{self.name}"


def write_state_file(path: Path, pieces: Sequence[tuple[Piece, Tensor]]) -> None:
    """Write pieces under a temporary name, sync them to disk and rename.

    Args:
        path: Where to.
        pieces: The values are fp32, 1-D and on the CPU.
    """
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        header = _header(pieces, _NO_CRC)
        file.write(struct.pack("<Q", len(header)))
        file.write(header)
        crc = zlib.crc32(header)
        for _, value in pieces:
            data = memoryview(value.contiguous().numpy().data).cast("B")
            for begin in range(0, len(data), _CHUNK_BYTES):
                chunk = data[begin : begin + _CHUNK_BYTES]
                crc = zlib.crc32(chunk, crc)
                file.write(chunk)
        file.seek(8)
        file.write(_header(pieces, f"{crc:08x}"))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _header(pieces: Iterable[tuple[Piece, Tensor]], crc: str) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"crc32": crc}}
    end = 0
    for piece, value in pieces:
        if value.dtype != torch.float32 or value.shape != (piece.numel,):
            raise ValueError(f"{piece.key} is {value.dtype} of shape {tuple(value.shape)}")
        begin, end = end, end + 4 * piece.numel
        entries[piece.key] = {"dtype": "F32", "shape": [piece.numel], "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def read_pieces(path: Path) -> list[Piece]:
    """List what a file holds, from its header alone.

    Raises:
        CheckpointError: When it is missing, shorter or longer than its header says, or no state file.
    """
    with _open(path) as file:
        entries, data_at = _read_header(file, path)
        size = os.fstat(file.fileno()).st_size
    try:
        pieces, end = [], 0
        for key, entry in entries.items():
            if key != "__metadata__":
                kind, start, name = key.split("/", 2)
                begin, end_of_piece = entry["data_offsets"]
                if begin != end or end_of_piece - begin != 4 * entry["shape"][0] or entry["dtype"] != "F32":
                    raise ValueError(key)
                pieces.append(Piece(kind, name, int(start), int(entry["shape"][0])))
                end = end_of_piece
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _damaged(path, f"its header is not readable at {error}") from error
    if size != data_at + end:
        raise _damaged(path, f"it has {size} bytes instead of {data_at + end}")
    return pieces


def verify_state_file(path: Path) -> None:
    """Read a file through and compare its checksum.

    Raises:
        CheckpointError: When it is missing or a bit differs from what was written.
    """
    with _open(path) as file:
        entries, data_at = _read_header(file, path)
        expected = entries.get("__metadata__", {}).get("crc32", "none")
        file.seek(8)
        header = file.read(data_at - 8)
        crc = zlib.crc32(header.replace(f'"crc32":"{expected}"'.encode(), f'"crc32":"{_NO_CRC}"'.encode(), 1))
        while chunk := file.read(_CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    if f"{crc:08x}" != expected:
        raise _damaged(path, f"its checksum is {crc:08x} instead of {expected}")


def read_slices(path: Path, wanted: Iterable[tuple[Piece, int, int]]) -> Iterator[Tensor]:
    """Read parts of pieces of one file, in the order asked for.

    Args:
        path: The file.
        wanted: A piece of it, and from which to which element of the flattened parameter.

    Yields:
        The values, 1-D fp32.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            for piece, start, stop in wanted:
                values: Tensor = file.get_slice(piece.key)[start - piece.start : stop - piece.start]
                yield values
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read this part of the training state ({error.strerror})") from error


def _read_header(file: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    """Entries of the header, and where the data begins."""
    length = file.read(8)
    size = struct.unpack("<Q", length)[0] if len(length) == 8 else -1
    if not 0 < size <= os.fstat(file.fileno()).st_size - 8:
        raise _damaged(path, "it is too short for its header")
    try:
        entries = json.loads(file.read(size))
    except ValueError as error:
        raise _damaged(path, "its header is not readable") from error
    if not isinstance(entries, dict) or not isinstance(entries.get("__metadata__", {}), dict):
        raise _damaged(path, "its header is not readable")
    return entries, 8 + size


def _damaged(path: Path, how: str) -> CheckpointError:
    return CheckpointError(f"{path}: damaged training state ({how}); resume from another checkpoint")
