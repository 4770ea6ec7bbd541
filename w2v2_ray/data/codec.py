"""The two ways a shard stores an utterance's samples: int16 PCM and FLAC. Both are lossless."""

from __future__ import annotations

import hashlib
import io
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import soundfile

from w2v2_ray.audio.samples import SAMPLE_RATE, Samples
from w2v2_ray.data.schema import Codec

"""Mono samples at the dataset's rate; little-endian on every machine."""

_PCM_DTYPE = np.dtype("<i2")
_DATA_BUFFER = 2  # of a binary array: validity, offsets, data


def encode(samples: Samples, codec: Codec) -> npt.NDArray[np.uint8]:
    """Turn samples into the bytes of a shard's `audio` column.

    Shape:
        samples [S]
    """
    if codec == "pcm16":
        return np.ascontiguousarray(samples, _PCM_DTYPE).view(np.uint8)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return np.frombuffer(buffer.getbuffer(), np.uint8)


class AudioColumn(Protocol):
    """The `audio` column of one record batch."""

    def crop(self, row: int, start: int, num_samples: int) -> Samples:
        """Read `num_samples` samples of a row from `start`; read-only. The caller has checked that they exist.

        Shape:
            returns [num_samples]

        Raises:
            ValueError: The bytes do not hold those samples.
        """
        ...


def open_column(column: pa.LargeBinaryArray, lengths: npt.NDArray[np.int32], codec: Codec) -> AudioColumn:
    """Make a column of a mapped file readable; its samples are not touched.

    Args:
        column: The column.
        lengths: Samples that each row must hold. Shape: [rows].
        codec: How they are stored.

    Raises:
        ValueError: The column is no binary one, points outside itself, or stores other lengths.
    """
    if not pa.types.is_large_binary(column.type) or column.null_count:
        raise ValueError(f"its audio is {column.type} with {column.null_count} nulls, not large_binary without any")
    data = column.buffers()[_DATA_BUFFER] or pa.py_buffer(b"")
    bounds = _bounds(column, data.size)
    if codec == "pcm16":
        return _PcmColumn(data, bounds, lengths)
    return _FlacColumn(data, bounds)


class _PcmColumn:
    """Rows are views of the file: the loader copies them by thousands a second, so nothing is looked up twice."""

    def __init__(self, data: pa.Buffer, bounds: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]) -> None:
        expected = lengths.astype(np.int64) * _PCM_DTYPE.itemsize
        if len(wrong := np.flatnonzero(np.diff(bounds) != expected)):
            row = int(wrong[0])
            raise ValueError(f"row {row} has {int(bounds[row + 1] - bounds[row])} bytes, not {int(expected[row])}")
        # Rows need not begin at an even place of the buffer when someone else wrote the file; all do or none does.
        odd = int(bounds[0]) % _PCM_DTYPE.itemsize
        count = (data.size - odd) // _PCM_DTYPE.itemsize
        self._samples = np.frombuffer(data, dtype=_PCM_DTYPE, count=count, offset=odd)
        self._samples.flags.writeable = False  # pyarrow says it may be written to, but the map would end the process
        # A memoryview gives Python's integers, several times faster than an array gives its own.
        self._first = ((bounds[:-1] - odd) // _PCM_DTYPE.itemsize).data

    def crop(self, row: int, start: int, num_samples: int) -> Samples:
        first = self._first[row] + start
        return self._samples[first : first + num_samples]


class _FlacColumn:
    """Rows are decoded when read, each whole up to the last sample wanted."""

    def __init__(self, data: pa.Buffer, bounds: npt.NDArray[np.int64]) -> None:
        self._data = data
        self._bounds = bounds

    def crop(self, row: int, start: int, num_samples: int) -> Samples:
        first, end = int(self._bounds[row]), int(self._bounds[row + 1])
        try:
            with soundfile.SoundFile(io.BytesIO(self._data[first:end])) as file:
                if start:
                    file.seek(start)
                samples: Samples = file.read(num_samples, dtype="int16")
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise ValueError(f"FLAC does not decode: {error}") from error
        if len(samples) != num_samples:
            raise ValueError(f"FLAC holds {start + len(samples)} samples instead of {start + num_samples}")
        return samples


def _bounds(column: pa.LargeBinaryArray, size: int) -> npt.NDArray[np.int64]:
    """Where rows begin and the last one ends, in bytes; checked, because reading elsewhere would end the process."""
    _, offsets, _ = column.buffers()
    first, count = column.offset, len(column) + 1
    if offsets is None or offsets.size < (first + count) * np.dtype("<i8").itemsize:
        raise ValueError("its audio has too few offsets")
    bounds = np.frombuffer(offsets, dtype="<i8", count=first + count)[first:].astype(np.int64, copy=False)
    if bounds[0] < 0 or bounds[-1] > size or np.any(bounds[1:] < bounds[:-1]):
        raise ValueError("its audio points outside itself")
    return bounds


def digest_of(samples: Samples) -> bytes:
    """What tells one utterance's samples from another's."""
    return hashlib.sha256(samples.tobytes()).digest()
