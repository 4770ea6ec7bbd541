"""Audio in containers and codecs that libsndfile does not know, decoded by FFmpeg's libraries through PyAV.

m4a, webm, mp4, wma, amr, video and whatever else FFmpeg reads. The extra is `w2v2-ray[media]`; its wheel brings the
libraries. Files that libsndfile reads never come here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from w2v2_ray.audio.rejection import RejectReason, reject
from w2v2_ray.audio.signal import Frames

Block = npt.NDArray[np.float32]
"""Shape: [samples, channels]."""

INSTALL = "pip install 'w2v2-ray[media]'"
_CONTAINER_TICKS_PER_S = 1_000_000
_SLACK_S = 0.1
"""Between what a container says and what is in it: encoders add and cut some blocks."""


@cache
def reads_media() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


class MediaFile:
    """The first stream of audio in a file, read like an `AudioFile`.

    Args:
        path: The file.

    Attributes:
        rate_hz: Of the stream.
        channels: Of the stream.
        frames: Its length at that rate, as it can be decoded.
        subtype: FFmpeg's name of the codec.
        is_exact: False: it is read as float32.
        is_mpeg: False.

    Raises:
        AudioError: It is no audio, has none, or less than its container says.
    """

    is_exact = False
    is_mpeg = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._rest: list[Block] = []
        self._decoded: Iterator[Block] | None = None
        self._container: Any = None
        stream = self._open()
        self.rate_hz = int(stream.rate or 0)
        self.channels = int(stream.channels or 0)
        self.subtype = f"ffmpeg {stream.codec_context.name}"
        if not self.rate_hz or not self.channels:
            self.close()
            raise reject(RejectReason.WRONG_HEADER, "FFmpeg finds no rate or no channels in its stream of audio")
        promised_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        if promised_s is None and stream.container.duration:
            promised_s = stream.container.duration / _CONTAINER_TICKS_PER_S
        self.frames = sum(len(block) for block in self._blocks())
        self.close()
        if not self.frames:
            raise reject(RejectReason.EMPTY, "no samples")
        if promised_s is not None and self.frames / self.rate_hz < promised_s * 0.99 - _SLACK_S:
            raise reject(
                RejectReason.TRUNCATED,
                f"the container says {promised_s:.3f} s, {self.frames / self.rate_hz:.3f} s can be decoded",
            )

    def read(self, start: int, count: int) -> Frames:
        """Decode frames; to go back is to begin anew.

        Raises:
            AudioError: They are damaged.
        """
        count = max(0, min(count, self.frames - start))
        if self._decoded is None or start < self._position:
            self.close()
            self._open()
            self._position, self._rest, self._decoded = 0, [], self._blocks()
        parts: list[Block] = []
        wanted_to = start + count
        while self._position < wanted_to:
            block = self._rest.pop() if self._rest else next(self._decoded, None)
            if block is None:
                break
            skipped = min(max(0, start - self._position), len(block))
            taken = block[skipped : skipped + wanted_to - max(start, self._position)]
            used = skipped + len(taken)
            if used < len(block):
                self._rest.append(block[used:])
            self._position += used
            if len(taken):
                parts.append(taken)
        found: Block = np.concatenate(parts) if parts else np.zeros((0, self.channels), np.float32)
        if len(found) < count:
            raise reject(RejectReason.TRUNCATED, f"{count} samples expected from {start} on, {len(found)} decoded")
        return found

    def begin_anew(self) -> None:
        """Nothing: it is decoded from its start in one go, so a piece is the same whatever was read before."""

    def close(self) -> None:
        """Close the file."""
        container, self._container, self._decoded = self._container, None, None
        if container is not None:
            container.close()

    def _open(self) -> Any:
        import av

        try:
            self._container = av.open(str(self._path), metadata_errors="ignore")
        except av.FFmpegError as error:
            raise reject(
                RejectReason.WRONG_HEADER, f"neither libsndfile nor FFmpeg can open it ({error.strerror})"
            ) from error
        if not self._container.streams.audio:
            self.close()
            raise reject(RejectReason.EMPTY, "FFmpeg finds no stream of audio in it")
        return self._container.streams.audio[0]

    def _blocks(self) -> Iterator[Block]:
        """All of the stream, a block at a time: float32 [samples, channels]."""
        import av

        stream = self._container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        try:
            for frame in self._container.decode(stream):
                frame.pts = None  # gaps between time stamps are no silence that anybody recorded
                for block in resampler.resample(frame):
                    yield block.to_ndarray().T.astype(np.float32, copy=False)
            for block in resampler.resample(None):
                yield block.to_ndarray().T.astype(np.float32, copy=False)
        except av.FFmpegError as error:
            raise reject(RejectReason.UNREADABLE, f"decoding fails ({error.strerror})") from error
