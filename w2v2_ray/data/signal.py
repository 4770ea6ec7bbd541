"""Whether decoded audio can be speech: its range, clipping and level, and how its channels are mixed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from w2v2_ray.data.rejection import RejectReason, reject

Mono = npt.NDArray[np.int16] | npt.NDArray[np.float32]
"""Samples [S]: int16, or float32 with full scale at 1."""

INT16_SCALE = 32768.0
_FULL_SCALE = {"PCM_U8": 127 / 128, "PCM_S8": 127 / 128, "ULAW": 32124 / INT16_SCALE, "ALAW": 32256 / INT16_SCALE}
"""The largest sample of an encoding where that is below that of int16."""
_INT16_FULL_SCALE = 32767 / INT16_SCALE
_LOSSY_FULL_SCALE = 0.998  # coding blurs what was clipped
_EXACT = ("PCM_", "FLOAT", "DOUBLE")
_FLAT_TOP = 0.9995  # of its own peak; 2 % of a slow tone lie there
_FLAT_TOP_PEAK = 0.1
_RUN = 3  # samples at the limit one after the other are clipped; a single one is just the loudest
_NOTED_CLIPPED = 1e-4
_NOTED_OFFSET = 0.02
_CANCELLED = 0.25


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
        max_clipped: Fraction of samples that may be clipped.
        min_level_dbfs: Least level (RMS without the offset, full scale 0 dB).
    """

    max_peak: float = 2.0
    max_clipped: float = 0.05
    min_level_dbfs: float = -75.0


@dataclass(frozen=True)
class ChannelMix:
    """How channels become one.

    Args:
        channel: The one taken; None for their mean.
    """

    channel: int | None = None

    def __call__(self, frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Mix frames [S, channels] to [S]."""
        if self.channel is not None:
            return frames[:, self.channel]
        if frames.shape[1] == 1:
            return frames[:, 0]
        mean: npt.NDArray[np.float32] = frames.mean(axis=1, dtype=np.float32)
        return mean


MEAN = ChannelMix()


def choose_mix(frames: npt.NDArray[np.float32]) -> ChannelMix:
    """The mean of the channels, unless it loses what the loudest of them has.

    Independent channels lose 3 dB in the mean of two, and a silent one 6 dB; channels of opposite phase lose all.

    Shape:
        frames [S, channels]
    """
    channels = frames.shape[1]
    if channels == 1 or not len(frames):
        return MEAN
    power = np.array([_power(frames[:, channel]) for channel in range(channels)])
    loudest = int(power.argmax())
    # One recorder's silent channel stays mixed in, as it always was: it costs level alone.
    if _power(MEAN(frames)) >= _CANCELLED / channels * power[loudest]:
        return MEAN
    return ChannelMix(loudest)


def check_finite(frames: npt.NDArray[np.float32]) -> None:
    """Raise if samples are no numbers."""
    if not np.isfinite(frames).all():
        raise reject(RejectReason.NOT_FINITE, f"{int((~np.isfinite(frames)).sum())} samples are NaN or infinite")


def judge(
    frames: npt.NDArray[np.int16] | npt.NDArray[np.float32], subtype: str, limits: SignalLimits
) -> tuple[SignalNote, ...]:
    """What is odd about audio that is kept.

    Args:
        frames: Decoded audio, only those channels that are used.
        subtype: libsndfile's name of the encoding.
        limits: What is kept.

    Shape:
        frames [S, channels]

    Raises:
        AudioError: It is out of range, saturated or silent.
    """
    waves = frames.astype(np.float32) / np.float32(INT16_SCALE) if frames.dtype == np.int16 else frames
    peak = float(max(-waves.min(), waves.max()))
    if peak > limits.max_peak:
        raise reject(
            RejectReason.OUT_OF_RANGE,
            f"the largest sample is {peak:g} where full scale is 1, the limit is {limits.max_peak:g} (--max-peak); "
            "floating-point audio on the scale of integers?",
        )
    level = level_dbfs(waves)
    if level < limits.min_level_dbfs:
        raise reject(
            RejectReason.SILENT,
            f"its level is {level:.1f} dBFS, the limit is {limits.min_level_dbfs:g} (--min-level-dbfs)",
        )
    full = _FULL_SCALE.get(subtype, _INT16_FULL_SCALE if subtype.startswith(_EXACT) else _LOSSY_FULL_SCALE)
    columns = [waves[:, channel] for channel in range(waves.shape[1])]
    clipped = max(clipped_fraction(column, full) for column in columns)
    flat = max(clipped, max(_flat_fraction(column) for column in columns))
    if flat > limits.max_clipped:
        raise reject(
            RejectReason.SATURATED,
            f"{flat:.1%} of its samples are clipped, the limit is {limits.max_clipped:.1%} (--max-clipped)",
        )
    notes = []
    if clipped > _NOTED_CLIPPED or peak > 1 + 1 / INT16_SCALE:
        notes.append(SignalNote.CLIPPED)
    if float(np.abs(waves.mean(axis=0)).max()) > _NOTED_OFFSET:
        notes.append(SignalNote.OFFSET)
    return tuple(notes)


def level_dbfs(waves: npt.NDArray[np.float32]) -> float:
    """Level of the loudest channel: RMS without the offset in dB below full scale; -inf for digital silence."""
    columns = waves.reshape(len(waves), -1)
    return decibels(max((_power(columns[:, index]) for index in range(columns.shape[1])), default=0.0))


def decibels(power: float) -> float:
    """A mean square in dB below full scale."""
    return 10 * math.log10(power) if power > 0 else -math.inf


def clipped_fraction(wave: npt.NDArray[np.float32], full_scale: float = _INT16_FULL_SCALE) -> float:
    """Fraction of samples that are at full scale, several in a row.

    Shape:
        wave [S]
    """
    if not len(wave) or max(-float(wave.min()), float(wave.max())) < full_scale:
        return 0.0
    return _in_runs(np.abs(wave) >= full_scale)


def _flat_fraction(wave: npt.NDArray[np.float32]) -> float:
    """Fraction at the audio's own peak, several in a row: it was clipped, and then made quieter."""
    peak = max(-float(wave.min()), float(wave.max()))
    return _in_runs(np.abs(wave) >= _FLAT_TOP * peak) if peak >= _FLAT_TOP_PEAK else 0.0


def _in_runs(at_limit: npt.NDArray[np.bool_]) -> float:
    """Fraction that is true in runs of three or more."""
    if np.count_nonzero(at_limit) < _RUN:
        return 0.0
    inner = at_limit[:-2] & at_limit[1:-1] & at_limit[2:]
    in_run = np.zeros(len(at_limit), np.bool_)
    for shift in range(_RUN):
        in_run[shift : shift + len(inner)] |= inner
    return float(np.count_nonzero(in_run)) / len(at_limit)


def _power(wave: npt.NDArray[np.float32]) -> float:
    """Mean square without the offset."""
    if not len(wave):
        return 0.0
    centred = np.ascontiguousarray(wave) - wave.mean(dtype=np.float64).astype(np.float32)
    return float(np.dot(centred, centred)) / len(centred)
