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
        resampled = functional.resample(torch.from_numpy(np.ascontiguousarray(waveform)), from_hz, to_hz)
    result: npt.NDArray[np.float32] = resampled.numpy()
    return result
