"""Resampling to the model's sample rate, with torchaudio's windowed sinc filter.

torchaudio is imported through `torchaudio_compat`, which explains why; torch is imported only when some audio really
has another rate, so that ingest of 16 kHz audio starts fast.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


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
    import torch

    from w2v2_ray.data.torchaudio_compat import import_torchaudio

    functional = import_torchaudio().functional
    with torch.inference_mode():
        # In double precision: kernels add in an order that depends on length and processor. In single precision that
        # shows in the last bit of int16, so that a piece of a file would not be what it is in the whole.
        exact = torch.from_numpy(np.ascontiguousarray(waveform)).double()
        result: npt.NDArray[np.float32] = functional.resample(exact, from_hz, to_hz).float().numpy()
    return result
