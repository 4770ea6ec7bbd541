"""One shard: an Arrow IPC file of utterances, uncompressed so that a memory map of it copies nothing."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from w2v2_ray.audio.samples import Samples
from w2v2_ray.data.codec import encode, open_column
from w2v2_ray.data.schema import SCHEMA_VERSION, Codec, shard_schema
from w2v2_ray.errors import DatasetError

_BATCH_ROWS = 128
_BATCH_BYTES = 16 * 2**20
_HASH_CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class WrittenShard:
    """What a finished shard file holds.

    Args:
        rows: Utterances.
        samples: Audio samples over all of them.
        num_bytes: Size of the file.
        sha256: Checksum of the file, in hex.
    """

    rows: int
    samples: int
    num_bytes: int
    sha256: str


class _HashingFile:
    """A file opened for writing that hashes what passes through: Arrow writes a file from front to back."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self.num_bytes = 0

    def write(self, content: Any) -> int:
        view = memoryview(content)
        self._digest.update(view)
        self.num_bytes += view.nbytes
        return self._file.write(view)

    def flush(self) -> None:
        self._file.flush()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class _AudioColumn:
    """The bytes of a batch's audio, one after the other in memory that the next batch uses again.

    A list of `bytes` would be copied into new memory, whose pages take the system longer than the copying.
    """

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._bytes = np.empty(_BATCH_BYTES, np.uint8)
        self._ends = [0]

    def append(self, content: npt.NDArray[np.uint8]) -> None:
        start, stop = self._ends[-1], self._ends[-1] + len(content)
        if stop > len(self._bytes):
            grown = np.empty(max(stop, 2 * len(self._bytes)), np.uint8)
            grown[:start] = self._bytes[:start]
            self._bytes = grown
        self._bytes[start:stop] = content
        self._ends.append(stop)

    def take(self) -> pa.Array:
        """The column, valid until the next `append`."""
        ends = np.array(self._ends, np.int64 if pa.types.is_large_binary(self._kind) else np.int32)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(self._bytes[: ends[-1]])]
        self._ends = [0]
        return pa.Array.from_buffers(self._kind, len(ends) - 1, buffers)


class ShardWriter:
    """Writes one shard from front to back, in record batches of bounded size.

    The bytes depend only on what is appended. The caller renames the finished file to its final name.

    Args:
        path: File to write.
        codec: How to store the audio.
    """

    def __init__(self, path: Path, codec: Codec) -> None:
        self._codec: Codec = codec
        self._schema = shard_schema(codec)
        self._file = _HashingFile(path)
        self._sink = pa.PythonFile(self._file, mode="w")
        self._writer = pa.ipc.new_file(self._sink, self._schema)
        self._audio = _AudioColumn(self._schema.field("audio").type)
        self._columns: dict[str, list[Any]] = {name: [] for name in self._schema.names if name != "audio"}
        self._pending_bytes = 0
        self.rows = 0
        self.samples = 0

    @property
    def num_bytes(self) -> int:
        """Bytes written or waiting to be."""
        return self._file.num_bytes + self._pending_bytes

    def append(
        self, utterance_id: str, samples: Samples, transcript: str | None, speaker: str | None, source: str
    ) -> None:
        """Add one utterance.

        Shape:
            samples [S]
        """
        audio = encode(samples, self._codec)
        self._audio.append(audio)
        row = (utterance_id, len(samples), transcript, speaker, source)
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)
        self._pending_bytes += len(audio)
        self.rows += 1
        self.samples += len(samples)
        if len(self._columns["id"]) >= _BATCH_ROWS or self._pending_bytes >= _BATCH_BYTES:
            self._flush()

    def close(self) -> WrittenShard:
        """Write the footer, fsync, and say what the file holds."""
        if self._columns["id"]:
            self._flush()
        self._writer.close()
        self._sink.close()
        self._file.close()
        return WrittenShard(self.rows, self.samples, self._file.num_bytes, self._file.sha256)

    def abort(self) -> None:
        """Close the file without finishing it."""
        self._file.close()

    def _flush(self) -> None:
        arrays = [
            self._audio.take() if field.name == "audio" else pa.array(self._columns[field.name], type=field.type)
            for field in self._schema
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        for column in self._columns.values():
            column.clear()
        self._pending_bytes = 0


class ShardReader:
    """Reads rows of a shard through a memory map. Safe to use from several threads.

    Args:
        path: The shard file.
        name: What to call it in messages.
        rows: Utterances it must hold, or None to take what is there.

    Raises:
        DatasetError: The file is no whole shard, has another schema version, another number of rows, or rows that are
            not where its columns say.
    """

    def __init__(self, path: Path, name: str, rows: int | None = None) -> None:
        self._name = name
        try:
            reader = pa.ipc.open_file(pa.memory_map(os.fspath(path)))
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
            metadata = reader.schema.metadata or {}
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{name}: is not a whole shard ({' '.join(str(error).split())})") from error
        self.codec = _codec_of(metadata, name)
        self._batches = [batch for batch in batches if batch.num_rows]
        # Looked up here: for a short crop pyarrow's way to a value takes longer than copying the samples.
        lengths = [batch.column("num_samples").to_numpy() for batch in self._batches]
        self._lengths = [column.data for column in lengths]
        try:
            self._audio = [
                open_column(batch.column("audio"), column, self.codec)
                for batch, column in zip(self._batches, lengths, strict=True)
            ]
        except ValueError as error:
            raise DatasetError(f"{name}: is damaged: {error}; prepare the dataset again") from error
        self._first_rows = [0]
        for batch in self._batches:
            self._first_rows.append(self._first_rows[-1] + batch.num_rows)
        if rows is not None and self.rows != rows:
            raise DatasetError(f"{name}: holds {self.rows} utterances, but dataset.json says {rows}")

    @property
    def rows(self) -> int:
        """Utterances."""
        return self._first_rows[-1]

    def num_samples(self, row: int) -> int:
        """Length of an utterance."""
        number, offset = self._find(row)
        return int(self._lengths[number][offset])

    def text(self, column: str, row: int) -> str | None:
        """One value of `id`, `transcript`, `speaker` or `source`."""
        value = self._value(column, row)
        return None if value is None else str(value)

    def texts(self, column: str) -> list[str | None]:
        """All values of a text column."""
        return [value for batch in self._batches for value in batch.column(column).to_pylist()]

    def audio(self, row: int) -> Samples:
        """All samples of an utterance; read-only, and for pcm16 a view of the file.

        Shape:
            returns [S]
        """
        return self.crop(row, 0, self.num_samples(row))

    def crop(self, row: int, start: int, num_samples: int) -> Samples:
        """Samples `start` to `start + num_samples` of an utterance; for pcm16 only those are read from disk.

        Shape:
            returns [num_samples]

        Raises:
            IndexError: The utterance is shorter than that.
            DatasetError: The stored bytes do not decode.
        """
        number, offset = self._find(row)
        length = self._lengths[number][offset]
        if start < 0 or num_samples < 0 or start + num_samples > length:
            raise IndexError(f"crop [{start}, {start + num_samples}) of an utterance of {length} samples")
        try:
            return self._audio[number].crop(offset, start, num_samples)
        except ValueError as error:
            raise DatasetError(f"{self._name}: row {row} is damaged: {error}; prepare the dataset again") from error

    def _value(self, column: str, row: int) -> Any:
        number, offset = self._find(row)
        return self._batches[number].column(column)[offset].as_py()

    def _find(self, row: int) -> tuple[int, int]:
        """Number of the record batch, and the row in it."""
        if not 0 <= row < self._first_rows[-1]:
            raise IndexError(f"row {row} of a shard with {self.rows} rows")
        number = bisect_right(self._first_rows, row) - 1
        return number, row - self._first_rows[number]


def _codec_of(metadata: dict[bytes, bytes], name: str) -> Codec:
    version = metadata.get(b"schema_version", b"none").decode()
    if version != str(SCHEMA_VERSION):
        raise DatasetError(
            f"{name}: has schema version {version}, this program reads {SCHEMA_VERSION}; prepare the dataset again"
        )
    codec = metadata.get(b"codec", b"").decode()
    if codec == "pcm16":
        return "pcm16"
    if codec == "flac":
        return "flac"
    raise DatasetError(f"{name}: has the unknown codec {codec!r}; this program reads pcm16 and flac")
