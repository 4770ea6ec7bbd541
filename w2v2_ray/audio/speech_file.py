"""An audio file of any length, read piece by piece."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from w2v2_ray.audio.audio_file import AudioFile, open_audio
from w2v2_ray.audio.media_file import MediaFile
from w2v2_ray.audio.reading import to_int16
from w2v2_ray.audio.samples import SAMPLE_RATE, Samples
from w2v2_ray.audio.signal import Channel, Mono, SignalLimits, check_peak, decibels, mix_down, take

_PROBE_S = 60  # as long as what ingest keeps, so that both mix channels the same
_LIMITS = SignalLimits()
_MAX_PEAK = 2 * _LIMITS.max_peak  # no file that ingest keeps is refused


class SpeechFile:
    """An audio file of any length, read piece by piece as 16 kHz mono int16; open it with `open_speech`.

    Attributes:
        num_samples: Length at 16 kHz.
    """

    def __init__(self, file: AudioFile | MediaFile) -> None:
        self._file = file
        self._rate_hz: int = file.rate_hz
        self._kept_from = 0
        self._kept: Mono | None = None
        self._channel = self._probe() if file.channels > 1 else None
        self.num_samples = -(-file.frames * SAMPLE_RATE // self._rate_hz)

    def read(self, start: int, count: int) -> Samples:
        """Samples `start` to `start + count` at 16 kHz, the same whatever pieces the file is read in.

        Another rate is resampled with some audio on both sides, from a place that both rates have a sample at. A piece
        that overlaps the one before is read on from there: to seek is slow and inexact in some MP3 files, and jumps
        over damage.

        Raises:
            AudioError: The file cannot be decoded that far.
        """
        rate_hz, common = self._rate_hz, math.gcd(self._rate_hz, SAMPLE_RATE)
        grid = rate_hz // common
        context = 0 if rate_hz == SAMPLE_RATE else rate_hz
        first = max(0, start * rate_hz // SAMPLE_RATE - context) // grid * grid
        last = min(self._file.frames, -(-(start + count) * rate_hz // SAMPLE_RATE) + context)
        samples = to_int16(self._frames(first, last), rate_hz)
        offset = start - first * SAMPLE_RATE // rate_hz
        return samples[offset : offset + count]

    def _frames(self, first: int, last: int) -> Mono:
        """Frames at the file's own rate; they are kept for the next piece."""
        kept_to = self._kept_from + len(self._kept) if self._kept is not None else 0
        if self._kept is None or not self._kept_from <= first <= kept_to:
            frames = self._decoded(first, last)
        else:
            frames = self._kept[first - self._kept_from : last - self._kept_from]
            if last > kept_to:
                frames = np.concatenate([frames, self._decoded(kept_to, last)])
            else:
                return frames
        self._kept_from, self._kept = first, frames
        return frames

    def _decoded(self, first: int, last: int) -> Mono:
        mono = take(self._file.read(first, last - first), self._channel)
        if len(mono) and mono.dtype != np.int16:
            check_peak(Channel.of(np.ascontiguousarray(mono, np.float32)).peak, _MAX_PEAK)
        return mono

    def _probe(self) -> int | None:
        """The channel to take, told from the first minute in which something is heard; that minute is kept."""
        step = _PROBE_S * self._rate_hz
        for start in range(0, self._file.frames, step):
            frames = self._file.read(start, step)
            if not len(frames):
                break
            mixed = mix_down(frames)
            check_peak(max(channel.peak for channel in mixed.used), _MAX_PEAK)
            if decibels(max(channel.power for channel in mixed.used)) >= _LIMITS.min_level_dbfs:
                self._kept_from, self._kept = start, mixed.mono
                return mixed.channel
        return None


class SpeechPart:
    """From one sample of an open file to another, read like a file of its own.

    Attributes:
        num_samples: Length at 16 kHz.
    """

    def __init__(self, file: SpeechFile, start: int, stop: int) -> None:
        self._file = file
        self._start = start
        self.num_samples = stop - start

    def read(self, start: int, count: int) -> Samples:
        """See `SpeechFile.read`."""
        return self._file.read(self._start + start, count)


@contextmanager
def open_speech(path: str | os.PathLike[str]) -> Iterator[SpeechFile]:
    """Open an audio file to be read piece by piece.

    Raises:
        AudioError: The file cannot be used; the message is `reason: detail` with a `RejectReason`.
    """
    with open_audio(Path(path)) as file:
        yield SpeechFile(file)
