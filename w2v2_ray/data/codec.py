"""The two ways a shard stores an utterance's samples: int16 PCM and FLAC. Both are lossless."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import soundfile

from w2v2_ray.data.schema import SAMPLE_RATE, Codec

Samples = npt.NDArray[np.int16]
"""Mono samples at the dataset's rate; little-endian on every machine."""

_PCM_DTYPE = np.dtype("<i2")


def encode(samples: Samples, codec: Codec) -> bytes:
    """Turn samples into the bytes of a shard's `audio` column.

    Shape:
        samples [S]
    """
    if codec == "pcm16":
        return samples.astype(_PCM_DTYPE, copy=False).tobytes()
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode(content: pa.Buffer, codec: Codec, start: int, num_samples: int) -> Samples:
    """Read `num_samples` samples from `start`; for PCM a read-only view that copies nothing.

    Args:
        content: One value of the `audio` column.
        codec: How it is stored.
        start: First sample.
        num_samples: Samples wanted; the caller has checked that they exist.

    Shape:
        returns [num_samples]

    Raises:
        ValueError: The bytes do not hold those samples.
    """
    if codec == "pcm16":
        view = np.frombuffer(content, dtype=_PCM_DTYPE, count=num_samples, offset=start * _PCM_DTYPE.itemsize)
        view.flags.writeable = False  # pyarrow says it may be written to, but the memory map would end the process
        return view
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if start:
                file.seek(start)
            samples: Samples = file.read(num_samples, dtype="int16")
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise ValueError(f"FLAC does not decode: {error}") from error
    if len(samples) != num_samples:
        raise ValueError(f"FLAC holds {start + len(samples)} samples instead of {start + num_samples}")
    return samples
