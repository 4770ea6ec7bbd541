"""One audio file to 16 kHz mono int16 samples, or the reason why not.

libsndfile forgives much (a cut WAV or Ogg file simply gets shorter), so truncation is also looked for in the file's
own structure.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from w2v2_ray.data.codec import Samples
from w2v2_ray.data.corpora.files import conversion_hint
from w2v2_ray.data.resampling import resample
from w2v2_ray.data.schema import SAMPLE_RATE
from w2v2_ray.errors import AudioError

_RATES_HZ = (1_000, 384_000)
_MAX_CHANNELS = 64
_UNKNOWN_FRAMES = 1 << 60  # libsndfile's count for a FLAC file that was written to a pipe is 2^63 - 1
_UNKNOWN_RIFF_BYTES = 0x7FFF_F000  # programs that write WAV to a pipe put this or more as the size
_OGG_TAIL_BYTES = 65_536  # a page is at most 65 307 bytes
_OGG_LAST_PAGE = 0x04
_MP3_SLACK_FRAMES = 2 * 1152  # encoders count their padding in different ways
_PROMISE_SLACK = 0.01  # of what a manifest promises: durations in manifests are rounded
_PROMISE_SLACK_S = 0.1
_INT16_SCALE = 32768.0

_Mono = npt.NDArray[np.int16] | npt.NDArray[np.float32]


class RejectReason(StrEnum):
    """Why a file is left out; the first word of the `AudioError`."""

    MISSING = "missing"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    WRONG_HEADER = "wrong_header"
    TRUNCATED = "truncated"
    NOT_FINITE = "not_finite"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    BAD_TRANSCRIPT = "bad_transcript"
    NOT_AS_LISTED = "not_as_listed"


@dataclass(frozen=True)
class DurationLimits:
    """Which lengths are kept.

    Args:
        min_s: Shorter audio is rejected.
        max_s: Longer audio is rejected, before it is decoded.
    """

    min_s: float = 0.1
    max_s: float = 60.0


@dataclass(frozen=True)
class Excerpt:
    """Which part of a file is wanted, and what a manifest promises about it.

    Args:
        offset_s: Start; None means the start of the file.
        duration_s: Length of the part; None means to the end of the file. Without `offset_s` a file that is longer by
            no more than rounding is read whole.
        frames: Frames at the file's own rate that the manifest says it has.
    """

    offset_s: float | None = None
    duration_s: float | None = None
    frames: int | None = None


WHOLE_FILE = Excerpt()


def reject(reason: RejectReason, detail: str) -> AudioError:
    """The error for a file that is left out."""
    return AudioError(f"{reason}: {detail}")


def load_speech(
    path: str | os.PathLike[str], limits: DurationLimits | None = None, excerpt: Excerpt = WHOLE_FILE
) -> Samples:
    """Decode an audio file, mix it down to mono and resample it to 16 kHz.

    Args:
        path: Anything libsndfile reads: wav, flac, ogg, mp3, ...
        limits: Lengths that are kept; None keeps all.
        excerpt: The part wanted.

    Shape:
        returns [S]

    Raises:
        AudioError: The file cannot be used; the message is `reason: detail` with a `RejectReason`.
    """
    path = Path(path)
    with _opened(path) as file:
        rate_hz = file.samplerate
        start, wanted = _window(file, excerpt)
        if limits is not None and wanted / rate_hz > limits.max_s:
            raise reject(
                RejectReason.TOO_LONG,
                f"{wanted / rate_hz:.1f} s, the limit is {limits.max_s:g} s: raise --max-s, or cut the "
                "recording at its pauses into files or into parts of a manifest (`offset`, `duration`)",
            )
        samples = _to_int16(_read(file, start, wanted), rate_hz)
    if limits is not None and len(samples) < limits.min_s * SAMPLE_RATE:
        raise reject(
            RejectReason.TOO_SHORT, f"{len(samples) / SAMPLE_RATE:.3f} s, the limit is {limits.min_s:g} s (--min-s)"
        )
    return samples


class _StraightFile(soundfile.SoundFile):
    """Reads on without seeking.

    soundfile seeks after every read to where it is already. In an MP3 file that drops what the decoder carries from
    frame to frame, so the next read begins with a click; in a damaged Ogg file it hides that audio is missing.
    """

    def seekable(self) -> bool:
        """False, which is all that keeps `read` from seeking; `seek` works all the same."""
        return False


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file after looking at what libsndfile would forgive."""
    try:
        with path.open("rb") as raw:
            num_bytes = os.fstat(raw.fileno()).st_size
            if num_bytes == 0:
                raise reject(RejectReason.EMPTY, "the file has 0 bytes")
            _check_riff(raw, num_bytes)
            _check_ogg(raw, num_bytes)
    except FileNotFoundError:
        raise reject(RejectReason.MISSING, "there is no such file") from None
    except OSError as error:
        raise reject(RejectReason.UNREADABLE, error.strerror or str(error)) from error
    try:
        file = _StraightFile(path)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        why = getattr(error, "error_string", str(error))
        raise reject(
            RejectReason.WRONG_HEADER, f"not audio that libsndfile knows ({why}){conversion_hint(path)}"
        ) from error
    with file:
        if not _RATES_HZ[0] <= file.samplerate <= _RATES_HZ[1] or not 1 <= file.channels <= _MAX_CHANNELS:
            raise reject(
                RejectReason.WRONG_HEADER, f"the header says {file.samplerate} Hz and {file.channels} channels"
            )
        if file.frames <= 0:
            raise reject(RejectReason.EMPTY, "the header says 0 samples")
        if file.frames >= _UNKNOWN_FRAMES:
            raise reject(
                RejectReason.WRONG_HEADER,
                "the header does not say how many samples there are (written to a pipe?); convert the file once more",
            )
        yield file


def _window(file: soundfile.SoundFile, excerpt: Excerpt) -> tuple[int, int]:
    """First frame and number of frames to read, checked against what the manifest promises.

    A file that is longer than the frames promised is another one than was listed. A duration alone is that of the
    part from the start, as NeMo reads it.
    """
    total, rate_hz = file.frames, file.samplerate
    start = round((excerpt.offset_s or 0.0) * rate_hz)
    left = total - start
    if left <= 0:
        raise reject(
            RejectReason.TRUNCATED,
            f"the manifest's part begins at {start / rate_hz:.2f} s, the file has {total / rate_hz:.2f} s",
        )
    if excerpt.frames is not None:
        promised = excerpt.frames
    else:
        promised = left if excerpt.duration_s is None else round(excerpt.duration_s * rate_hz)
    slack = _PROMISE_SLACK_S * rate_hz + (_MP3_SLACK_FRAMES if file.format in ("MP3", "MPEG") else 0)
    if left < promised * (1 - _PROMISE_SLACK) - slack:
        raise reject(
            RejectReason.TRUNCATED,
            f"the manifest promises {(start + promised) / rate_hz:.2f} s, the file has {total / rate_hz:.2f} s",
        )
    if excerpt.frames is not None and left > promised + slack:
        raise reject(
            RejectReason.NOT_AS_LISTED,
            f"the manifest promises {promised} samples, the file has {total} at {rate_hz} Hz; list the files anew",
        )
    is_whole = excerpt.offset_s is None and left <= promised + slack
    return start, left if is_whole else min(promised, left)


def _read(file: soundfile.SoundFile, start: int | None, wanted: int) -> _Mono:
    """Decode frames: int16 where the file holds just that, so that nothing is rounded; float32 otherwise.

    Without `start` it goes on where the last call ended; that nothing is left is no error then.
    """
    exact = file.subtype == "PCM_16" and file.channels == 1
    try:
        if start is not None and file.tell() != start:
            file.seek(start)
        decoded = file.read(wanted, dtype="int16" if exact else "float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        if _ends_early(file):
            raise reject(
                RejectReason.TRUNCATED, f"the header says {file.frames} samples, the data ends before"
            ) from error
        raise reject(RejectReason.UNREADABLE, f"decoding fails ({getattr(error, 'error_string', error)})") from error
    slack = _MP3_SLACK_FRAMES if file.format in ("MP3", "MPEG") else 0
    if len(decoded) + slack < wanted:
        raise reject(RejectReason.TRUNCATED, f"{wanted} samples expected, {len(decoded)} decoded")
    if len(decoded) == 0 and start is not None:
        raise reject(RejectReason.EMPTY, "no samples")
    mono: _Mono = decoded[:, 0]
    if exact:
        return mono
    if not np.isfinite(decoded).all():
        raise reject(RejectReason.NOT_FINITE, f"{int((~np.isfinite(decoded)).sum())} samples are NaN or infinite")
    mono = decoded.mean(axis=1, dtype=np.float32)
    return mono  # noqa: RET504 -- soundfile is untyped, the name carries the type


def _ends_early(file: soundfile.SoundFile) -> bool:
    """Whether the last sample that the header promises cannot be read: damage in the middle leaves it readable."""
    try:
        # Opened anew: a decoder that met an error stays in it.
        with soundfile.SoundFile(file.name) as again:
            again.seek(file.frames - 1)
            return len(again.read(1)) == 0
    except (soundfile.SoundFileError, RuntimeError):
        return True


def _to_int16(mono: _Mono, rate_hz: int) -> Samples:
    if mono.dtype == np.int16 and rate_hz == SAMPLE_RATE:
        return mono.astype(np.int16, copy=False)
    waveform = mono.astype(np.float32) / _INT16_SCALE if mono.dtype == np.int16 else mono.astype(np.float32, copy=False)
    scaled = np.rint(resample(waveform, rate_hz, SAMPLE_RATE) * _INT16_SCALE)
    samples: Samples = np.clip(scaled, -_INT16_SCALE, _INT16_SCALE - 1).astype(np.int16)
    return samples


def _check_riff(raw: BinaryIO, num_bytes: int) -> None:
    """Raise if a WAV file's data chunk is longer than the file."""
    raw.seek(0)
    head = raw.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return
    position = 12
    while position + 8 <= num_bytes:
        raw.seek(position)
        name, size = struct.unpack("<4sI", raw.read(8))
        position += 8
        if name == b"data":
            if size < _UNKNOWN_RIFF_BYTES and position + size > num_bytes:
                raise reject(
                    RejectReason.TRUNCATED,
                    f"the header says {size} bytes of audio, the file has {num_bytes - position}",
                )
            return
        position += size + size % 2
    raise reject(RejectReason.TRUNCATED, "the WAV header is there, the audio is not")


def _check_ogg(raw: BinaryIO, num_bytes: int) -> None:
    """Raise if an Ogg file lacks the page that is marked as its last."""
    raw.seek(0)
    if raw.read(4) != b"OggS":
        return
    raw.seek(max(0, num_bytes - _OGG_TAIL_BYTES))
    tail = raw.read()
    page = tail.rfind(b"OggS")
    if page < 0 or page + 5 >= len(tail) or not tail[page + 5] & _OGG_LAST_PAGE:
        raise reject(RejectReason.TRUNCATED, "the last page of the Ogg stream is missing")


class SpeechFile:
    """An audio file of any length, read piece by piece as 16 kHz mono int16; open it with `open_speech`.

    Attributes:
        num_samples: Length at 16 kHz.
    """

    def __init__(self, file: soundfile.SoundFile) -> None:
        self._file = file
        self._rate_hz: int = file.samplerate
        self._kept_from = 0
        self._kept: _Mono | None = None
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
        samples = _to_int16(self._frames(first, last), rate_hz)
        offset = start - first * SAMPLE_RATE // rate_hz
        return samples[offset : offset + count]

    def _frames(self, first: int, last: int) -> _Mono:
        """Frames at the file's own rate; they are kept for the next piece."""
        kept_to = self._kept_from + len(self._kept) if self._kept is not None else 0
        if self._kept is None or not self._kept_from <= first <= kept_to:
            frames = _read(self._file, first, last - first)
        else:
            frames = self._kept[first - self._kept_from : last - self._kept_from]
            if last > kept_to:
                frames = np.concatenate([frames, _read(self._file, None, last - kept_to)])
            else:
                return frames
        self._kept_from, self._kept = first, frames
        return frames


@contextmanager
def open_speech(path: str | os.PathLike[str]) -> Iterator[SpeechFile]:
    """Open an audio file to be read piece by piece.

    Raises:
        AudioError: The file cannot be used; the message is `reason: detail` with a `RejectReason`.
    """
    with _opened(Path(path)) as file:
        yield SpeechFile(file)
