"""Whether decoded audio can be speech: its range, clipping and level, and how its channels are mixed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from w2v2_ray.audio.rejection import RejectReason, reject

Frames = npt.NDArray[np.int16] | npt.NDArray[np.float32]
"""Decoded audio [S, channels]: int16 where the file holds just that, so that nothing is rounded; else float32."""
Mono = npt.NDArray[np.int16] | npt.NDArray[np.float32]
"""Samples [S]: int16, or float32 with full scale at 1."""
Wave = npt.NDArray[np.float32]

INT16_SCALE = 32768.0
_LAST_OF_EIGHT_BITS_DBFS = -41.0  # a step is 1/128 of full scale
_FULL_SCALE = {"PCM_U8": 127 / 128, "PCM_S8": 127 / 128, "ULAW": 32124 / INT16_SCALE, "ALAW": 32256 / INT16_SCALE}
"""The largest sample of an encoding where that is below that of int16."""
_INT16_FULL_SCALE = 32767 / INT16_SCALE
_LOSSY_FULL_SCALE = 0.95  # coding blurs what was clipped
_OVERSHOOT = 2.0  # of what was clipped before a lossy codec
_EXACT = ("PCM_", "FLOAT", "DOUBLE")
_FLAT_TOP = 0.9998  # of its own peak; 1.3 % of a slow tone lie there
_FLAT_TOP_PEAK = 0.1
_RUN = 3  # samples at the limit one after the other are clipped; a single one is just the loudest
_NOTED_CLIPPED = 1e-4
_NOTED_OFFSET = 0.02
_CANCELLED = 0.25
_ONES = np.ones(256, np.float32)
_LEAST_POWER = 1e-20
_HUGE = 1e9  # squares of more would leave the range of float32


class SignalNote(StrEnum):
    """What is odd about audio that is kept all the same."""

    CLIPPED = "clipped"
    """Some samples are at full scale in a row, or were beyond it."""
    ONE_CHANNEL = "one_channel"
    """Mixing would have cancelled the channels; the loudest was taken."""
    OFFSET = "dc_offset"
    """The mean of its samples is far from zero."""


@dataclass(frozen=True)
class SignalLimits:
    """Which signals are kept.

    Args:
        max_peak: Largest sample, in full scales: what is beyond 1 is clipped, what is far beyond has another scale.
            Behind lossy codecs twice as much.
        max_clipped: Fraction of samples that may be clipped.
        min_level_dbfs: Least level (RMS without the offset, full scale 0 dB); -200 keeps digital silence, too.
    """

    max_peak: float = 2.0
    max_clipped: float = 0.02
    min_level_dbfs: float = -75.0


@dataclass(frozen=True)
class Channel:
    """One channel and its figures.

    Attributes:
        wave: Its samples [S], contiguous; int16 ones have full scale at 32768.
        peak: The largest of them, whatever its sign.
        mean: Of them, the offset.
        mean_square: Of them.
        power: Mean square without the offset.
    """

    wave: Mono
    peak: float
    mean: float
    mean_square: float
    power: float

    @staticmethod
    def of(wave: Mono) -> Channel:
        """Measure a channel.

        Raises:
            AudioError: Some samples are no numbers.
        """
        scale = INT16_SCALE if wave.dtype == np.int16 else 1.0
        peak = max(-float(wave.min()), float(wave.max())) / scale
        if not math.isfinite(peak):
            raise reject(RejectReason.NOT_FINITE, f"{int((~np.isfinite(wave)).sum())} samples are NaN or infinite")
        if peak > _HUGE:
            return Channel(wave, peak, 0.0, math.inf, math.inf)
        real = np.asarray(wave, np.float32)
        mean, mean_square = _mean(real) / scale, float(np.dot(real, real)) / len(real) / scale**2
        power = mean_square - mean * mean
        if power < mean_square / 2:  # the difference of two large numbers is not to be trusted
            centred = real - np.float32(mean * scale)
            power = float(np.dot(centred, centred)) / len(real) / scale**2
        return Channel(wave, peak, mean, mean_square, power)


@dataclass(frozen=True)
class Mixed:
    """Channels that became one.

    Attributes:
        mono: The one.
        channel: Which was taken; None for their mean.
        used: Those that are heard in it.
    """

    mono: Mono
    channel: int | None
    used: tuple[Channel, ...]


def mix_down(frames: Frames) -> Mixed:
    """The mean of the channels, unless it loses what the loudest of them has.

    Independent channels lose 3 dB in the mean of two, and a silent one costs 6 dB; channels of opposite phase lose all.

    Shape:
        frames [S, channels], at least one

    Raises:
        AudioError: Some samples are no numbers.
    """
    if frames.dtype == np.int16:
        return Mixed(frames[:, 0], None, (Channel.of(frames[:, 0]),))
    channels = tuple(Channel.of(wave) for wave in np.ascontiguousarray(frames.T))
    if len(channels) == 1:
        return Mixed(frames[:, 0], None, channels)
    loudest = max(range(len(channels)), key=lambda number: channels[number].power)
    if channels[loudest].peak > _HUGE:  # their sum may be beyond float32
        return Mixed(take(frames, loudest), loudest, channels)
    mean = take(frames, None)
    if Channel.of(mean).power >= _CANCELLED / len(channels) * channels[loudest].power:
        return Mixed(mean, None, channels)
    return Mixed(take(frames, loudest), loudest, (channels[loudest],))


def take(frames: Frames, channel: int | None) -> Mono:
    """One channel [S] of frames [S, channels], or the mean of all."""
    if frames.dtype == np.int16 or frames.shape[1] == 1:
        return frames[:, 0]
    if channel is not None:
        return frames[:, channel]
    mean: Wave = frames.mean(axis=1, dtype=np.float32)
    return mean


def judge(mixed: Mixed, subtype: str, limits: SignalLimits) -> tuple[SignalNote, ...]:
    """What is odd about audio that is kept.

    Args:
        mixed: The audio.
        subtype: libsndfile's name of the encoding.
        limits: What is kept.

    Raises:
        AudioError: It is out of range, saturated or silent.
    """
    peak = max(channel.peak for channel in mixed.used)
    is_exact = subtype.startswith(_EXACT)
    check_peak(peak, limits.max_peak * (1 if is_exact or subtype in _FULL_SCALE else _OVERSHOOT), " (--max-peak)")
    level = decibels(max(channel.power for channel in mixed.used))
    # What only tips the last of eight bits is noise of the converter.
    floor = _LAST_OF_EIGHT_BITS_DBFS if subtype in ("PCM_U8", "PCM_S8") and limits.min_level_dbfs > -200 else -200.0
    if level < max(limits.min_level_dbfs, floor):
        raise reject(
            RejectReason.SILENT,
            f"its level is {level:.1f} dBFS, the limit is {max(limits.min_level_dbfs, floor):g} (--min-level-dbfs)",
        )
    full = _FULL_SCALE.get(subtype, _INT16_FULL_SCALE if is_exact else _LOSSY_FULL_SCALE)
    clipped = max(_at_limit(channel, full) for channel in mixed.used)
    flat = max(_flat_top(channel, limits.max_clipped) for channel in mixed.used)
    if max(clipped, flat) > limits.max_clipped:
        raise reject(
            RejectReason.SATURATED,
            f"{max(clipped, flat):.1%} of its samples are clipped, the limit is {limits.max_clipped:.1%} "
            "(--max-clipped)",
        )
    notes = []
    if mixed.channel is not None:
        notes.append(SignalNote.ONE_CHANNEL)
    if clipped > _NOTED_CLIPPED or peak > 1 + 1 / INT16_SCALE:
        notes.append(SignalNote.CLIPPED)
    if max(abs(channel.mean) for channel in mixed.used) > _NOTED_OFFSET:
        notes.append(SignalNote.OFFSET)
    return tuple(notes)


def check_peak(peak: float, max_peak: float, option: str = "") -> None:
    """Raise if audio goes far beyond full scale, where it would be clipped beyond recognition."""
    if peak > max_peak:
        raise reject(
            RejectReason.OUT_OF_RANGE,
            f"the largest sample is {peak:g} where full scale is 1, the limit is {max_peak:g}{option}; "
            "floating-point audio on the scale of integers?",
        )


def clipped_fraction(channel: Channel) -> float:
    """Fraction of a channel's samples that are at the full scale of int16, several in a row."""
    return _at_limit(channel, _INT16_FULL_SCALE)


def decibels(power: float) -> float:
    """A mean square in dB below full scale; -200 for digital silence, which has no level."""
    return 10 * math.log10(max(power, _LEAST_POWER))


def _at_limit(channel: Channel, limit: float) -> float:
    """Fraction of samples that reach a limit, several in a row."""
    if channel.peak < limit:
        return 0.0
    at_limit = limit * (INT16_SCALE if channel.wave.dtype == np.int16 else 1.0)
    return _in_runs((channel.wave >= at_limit) | (channel.wave <= -at_limit))


def _flat_top(channel: Channel, max_clipped: float) -> float:
    """Fraction at the audio's own peak, several in a row: it was clipped, and then made quieter.

    0 where it cannot be above the limit: so many samples at the peak would have more power.
    """
    limit = _FLAT_TOP * channel.peak
    if channel.peak < _FLAT_TOP_PEAK or channel.mean_square < max_clipped * limit * limit:
        return 0.0
    return _at_limit(channel, limit)


def _mean(wave: Wave) -> float:
    """The mean, faster than numpy's own."""
    whole = len(wave) // len(_ONES) * len(_ONES)
    sums = wave[:whole].reshape(-1, len(_ONES)) @ _ONES
    return float(sums.sum(dtype=np.float64) + wave[whole:].sum(dtype=np.float64)) / len(wave)


def _in_runs(at_limit: npt.NDArray[np.bool_]) -> float:
    """Fraction that is true in runs of three or more."""
    if np.count_nonzero(at_limit) < _RUN:
        return 0.0
    inner = at_limit[:-2] & at_limit[1:-1] & at_limit[2:]
    in_run = np.zeros(len(at_limit), np.bool_)
    for shift in range(_RUN):
        in_run[shift : shift + len(inner)] |= inner
    return float(np.count_nonzero(in_run)) / len(at_limit)
