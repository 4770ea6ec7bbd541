"""Resampling to the model's sample rate, with the windowed sinc filter of torchaudio.

An output lies at one of a few places between inputs (160 of them from 44.1 to 16 kHz), and each place has a filter of
some 36 taps. `torchaudio.functional.resample` writes all of them into one kernel, of which nine tenths are zeros that
it multiplies; here each filter meets its own inputs only, and neither torch nor torchaudio is imported.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_ZEROS = 6
_ROLLOFF = 0.99
_BLOCK_ROWS = 1 << 16
_FEW_PLACES = 2_000
"""Rates with more places than this between inputs are rare, and their filters large: they are made anew each time."""

_TORCHAUDIO_KERNEL = 20_000_000
"""Of rates whose kernel would be larger (22 254 Hz: 0.7 GB) torchaudio was never asked: its count is none to keep."""

Filters = npt.NDArray[np.float64]
"""Shape: [places, taps]."""


def resample(waveform: npt.NDArray[np.float32], from_hz: int, to_hz: int) -> npt.NDArray[np.float32]:
    """Resample one mono waveform.

    In double precision: what is added up in which order depends on length and processor. In single precision that would
    show in the last bit of int16, so that a piece of a file would not be what it is in the whole.

    Source: `torchaudio.functional.resample` with its default Hann-windowed sinc, equal to its double precision.

    Args:
        waveform: Samples in [-1, 1].
        from_hz: Rate of `waveform`.
        to_hz: Rate wanted.

    Shape:
        waveform [S] -> [ceil(S * to_hz / from_hz)], or one off: see `_count`
    """
    if from_hz == to_hz:
        return waveform
    common = math.gcd(from_hz, to_hz)
    step, places = from_hz // common, to_hz // common
    count = _count(len(waveform), step, places)
    result = np.empty(count, np.float32)
    few = places <= _FEW_PLACES
    filters = _usual_filters(step, places) if few else _filters(step, places, min(places, count))
    taps = filters.shape[1]
    reach = taps // 2 - 1
    padded = np.zeros(len(waveform) + 2 * taps, np.float64)
    padded[reach : reach + len(waveform)] = waveform
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps)
    for place in range(min(places, count)):
        own = windows[place * step // places :: step]
        rows = -(-(count - place) // places)
        for first in range(0, rows, _BLOCK_ROWS):
            last = min(rows, first + _BLOCK_ROWS)
            start = place + first * places
            result[start : place + (last - 1) * places + 1 : places] = own[first:last] @ filters[place]
    return result


def _count(length: int, step: int, places: int) -> int:
    """Outputs of so many inputs, as torchaudio counts them: it rounds to single precision before it rounds up.

    So the last output is left out now and then, in every dataset that was made with it: of lengths between 1 and 30 s
    at 44.1, 22.05 and 11.025 kHz for one in 115, at 48 and 8 kHz for none. Beyond 2^24 outputs there may be one more.
    """
    if step * places > _TORCHAUDIO_KERNEL:
        return -(-length * places // step)
    return math.ceil(np.float32(places * length / step))


def _filters(step: int, places: int, count: int) -> Filters:
    """Filters of the first `count` places: sinc with a Hann window, over the inputs from `-reach` to `reach + 1`."""
    cutoff = min(1.0, places / step) * _ROLLOFF  # in half cycles a sample
    reach = math.ceil(_ZEROS / cutoff)
    part = (np.arange(count) * step % places) / places
    phase = np.clip((np.arange(-reach, reach + 2) - part[:, None]) * cutoff, -_ZEROS, _ZEROS)
    filters: Filters = np.sinc(phase) * np.cos(phase * (np.pi / (2 * _ZEROS))) ** 2 * cutoff
    return filters


@lru_cache(maxsize=16)
def _usual_filters(step: int, places: int) -> Filters:
    return _filters(step, places, places)
