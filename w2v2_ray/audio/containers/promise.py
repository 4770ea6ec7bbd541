"""What a file's structure says about its audio, and how it should be opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Parts = Sequence[bytes | tuple[int, int]]
"""Bytes, or (offset, length) within a file; see `SplicedFile`."""


@dataclass(frozen=True)
class Promise:
    """What is known before decoding.

    Attributes:
        parts: What a decoder should be given instead of the file; None for the file as it is.
        audio_bytes: Of the encoded audio as the header says, which the file has; None where that is not known.
        stray_bytes: After the audio that the header speaks of, belonging to nothing.
        frames: Samples per channel that the header says besides; None when it does not.
        decode_on: Whether a decoder that got to the promised end may have more to give: `frames` is then what was
            promised, 0 for nothing, and `parts` promise nothing.
    """

    parts: Parts | None = None
    audio_bytes: int | None = None
    stray_bytes: int = 0
    frames: int | None = None
    decode_on: bool = False
