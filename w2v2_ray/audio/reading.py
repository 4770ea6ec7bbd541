"""One audio file to 16 kHz mono int16 samples, or the reason why not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2v2_ray.audio.audio_file import AudioFile, open_audio
from w2v2_ray.audio.media_file import MediaFile
from w2v2_ray.audio.rejection import RejectReason, reject
from w2v2_ray.audio.resampling import resample
from w2v2_ray.audio.samples import SAMPLE_RATE, Samples
from w2v2_ray.audio.signal import INT16_SCALE, Mono, SignalLimits, SignalNote, judge, mix_down

_PROMISE_SLACK = 0.01  # of what a manifest promises: durations in manifests are rounded
_PROMISE_SLACK_S = 0.1
_MPEG_SLACK_FRAMES = 2 * 1152  # encoders count their padding in different ways


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


@dataclass(frozen=True)
class Speech:
    """What is taken from a file.

    Attributes:
        samples: 16 kHz mono [S].
        notes: What is odd about it.
    """

    samples: Samples
    notes: tuple[SignalNote, ...] = ()


def load_speech(
    path: str | os.PathLike[str], limits: DurationLimits | None = None, excerpt: Excerpt = WHOLE_FILE
) -> Samples:
    """Decode an audio file, mix it down to mono and resample it to 16 kHz, whatever its signal is like.

    Args:
        path: Anything libsndfile reads: wav, flac, ogg, mp3, ...
        limits: Lengths that are kept; None keeps all.
        excerpt: The part wanted.

    Shape:
        returns [S]

    Raises:
        AudioError: The file cannot be used; the message is `reason: detail` with a `RejectReason`.
    """
    return judge_speech(path, limits, excerpt).samples


def judge_speech(
    path: str | os.PathLike[str],
    limits: DurationLimits | None = None,
    excerpt: Excerpt = WHOLE_FILE,
    signal: SignalLimits | None = None,
) -> Speech:
    """Do as `load_speech`, and look at the signal.

    Args:
        path: The file.
        limits: Lengths that are kept; None keeps all.
        excerpt: The part wanted.
        signal: Signals that are kept; None keeps all but NaN and infinity, and notes nothing.

    Raises:
        AudioError: The file cannot be used, or is not kept.
    """
    with open_audio(Path(path)) as file:
        rate_hz = file.rate_hz
        start, wanted = _window(file, excerpt)
        if limits is not None and wanted / rate_hz > limits.max_s:
            raise reject(
                RejectReason.TOO_LONG,
                f"{wanted / rate_hz:.1f} s, the limit is {limits.max_s:g} s: raise --max-s, or let "
                "`prepare` cut it at its pauses: --segment silero (or energy)",
            )
        frames = file.read(start, wanted)
        if not len(frames):
            raise reject(RejectReason.EMPTY, "no samples")
        mixed = mix_down(frames)
        notes: tuple[SignalNote, ...] = ()
        # Too short audio is called that, whatever it sounds like.
        if signal is not None and not _is_too_short(-(-len(frames) * SAMPLE_RATE // rate_hz), limits):
            notes = judge(mixed, file.subtype, signal)
        samples = to_int16(mixed.mono, rate_hz)
    if limits is not None and _is_too_short(len(samples), limits):
        raise reject(
            RejectReason.TOO_SHORT, f"{len(samples) / SAMPLE_RATE:.3f} s, the limit is {limits.min_s:g} s (--min-s)"
        )
    return Speech(samples, notes)


def to_int16(mono: Mono, rate_hz: int) -> Samples:
    """Resample to 16 kHz and round."""
    if mono.dtype == np.int16 and rate_hz == SAMPLE_RATE:
        return mono.astype(np.int16, copy=False)
    waveform = mono.astype(np.float32) / INT16_SCALE if mono.dtype == np.int16 else mono.astype(np.float32, copy=False)
    scaled = np.rint(resample(waveform, rate_hz, SAMPLE_RATE) * INT16_SCALE)
    samples: Samples = np.clip(scaled, -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)
    return samples


def _is_too_short(num_samples: int, limits: DurationLimits | None) -> bool:
    return limits is not None and num_samples < limits.min_s * SAMPLE_RATE


def _window(file: AudioFile | MediaFile, excerpt: Excerpt) -> tuple[int, int]:
    """First frame and number of frames to read, checked against what the manifest promises.

    A file that is longer than the frames promised is another one than was listed. A duration alone is that of the
    part from the start, as NeMo reads it.
    """
    total, rate_hz = file.frames, file.rate_hz
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
    slack = _PROMISE_SLACK_S * rate_hz + (_MPEG_SLACK_FRAMES if file.is_mpeg else 0)
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
