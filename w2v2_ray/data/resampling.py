"""Resampling to the model's sample rate, with torchaudio's windowed sinc filter.

torchaudio is imported through `torchaudio_compat`, which explains why; torch is imported only when some audio really
has another rate, so that ingest of 16 kHz audio starts fast.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

_MAX_KERNEL = 20_000_000
"""Of torchaudio's filters, one for each pair of places in a period of both rates: for 22 254 Hz (old Macintosh
recordings) they would take 0.7 GB, for 15 999 Hz 2 GB and half a minute."""
_ZEROS = 6
_ROLLOFF = 0.99
_BLOCK_SAMPLES = 8192


def resample(waveform: npt.NDArray[np.float32], from_hz: int, to_hz: int) -> npt.NDArray[np.float32]:
    """Resample one mono waveform.

    Source: `torchaudio.functional.resample` with its default Hann-windowed sinc.

    Args:
        waveform: Samples in [-1, 1].
        from_hz: Rate of `waveform`.
        to_hz: Rate wanted.

    Shape:
        waveform [S] -> [ceil(S * to_hz / from_hz)]
    """
    if from_hz == to_hz:
        return waveform
    ratio = Fraction(from_hz, to_hz)
    if ratio.numerator * ratio.denominator > _MAX_KERNEL:
        return _at_each_place(waveform, from_hz, to_hz)
    import torch

    from w2v2_ray.data.torchaudio_compat import import_torchaudio

    functional = import_torchaudio().functional
    with torch.inference_mode():
        # In double precision: kernels add in an order that depends on length and processor. In single precision that
        # shows in the last bit of int16, so that a piece of a file would not be what it is in the whole.
        exact = torch.from_numpy(np.ascontiguousarray(waveform)).double()
        result: npt.NDArray[np.float32] = functional.resample(exact, from_hz, to_hz).float().numpy()
    return result


def _at_each_place(waveform: npt.NDArray[np.float32], from_hz: int, to_hz: int) -> npt.NDArray[np.float32]:
    """The same filter, evaluated for every sample by itself: for rates that have hardly a sample in common."""
    cutoff = min(1.0, to_hz / from_hz) * _ROLLOFF  # in half cycles a sample
    reach = math.ceil(_ZEROS / cutoff)
    padded = np.concatenate([np.zeros(reach), waveform, np.zeros(reach + 1)])
    taps = np.arange(-reach, reach + 2)
    result = np.empty(-(-len(waveform) * to_hz // from_hz), np.float32)
    for start in range(0, len(result), _BLOCK_SAMPLES):
        place, part = np.divmod(np.arange(start, min(start + _BLOCK_SAMPLES, len(result))) * from_hz, to_hz)
        phase = np.clip((taps - (part / to_hz)[:, None]) * cutoff, -_ZEROS, _ZEROS)
        filters = np.sinc(phase) * np.cos(phase * (np.pi / (2 * _ZEROS))) ** 2 * cutoff
        inputs = np.lib.stride_tricks.sliding_window_view(padded, len(taps))[place]
        result[start : start + len(place)] = np.einsum("sk,sk->s", inputs, filters)
    return result
