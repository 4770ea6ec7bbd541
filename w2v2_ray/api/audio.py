"""Audio as a program has it: a path, samples, or several of either."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from w2v2_ray.audio.reading import to_int16
from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.audio.speech_file import open_speech
from w2v2_ray.data.listening.inputs import Source, array_source
from w2v2_ray.errors import AudioError

AudioLike = str | os.PathLike[str] | NDArray[Any] | Tensor
"""The path of a file that `w2v2-ray transcribe` reads, or mono samples [S]: int16, or floats in [-1, 1]."""


def as_sources(audio: AudioLike | list[AudioLike] | tuple[AudioLike, ...], sample_rate: int) -> list[Source]:
    """Turn one or several files or arrays into sources.

    Raises:
        AudioError: When something is neither a path nor mono samples.
    """
    items = audio if isinstance(audio, (list, tuple)) else [audio]
    return [_as_source(item, number, sample_rate) for number, item in enumerate(items)]


def _as_source(audio: AudioLike, number: int, sample_rate: int) -> Source:
    if isinstance(audio, (str, os.PathLike)):
        return Source(str(audio), partial(open_speech, audio))
    return array_source(f"audio {number}", samples_of(audio, sample_rate))


def samples_of(audio: NDArray[Any] | Tensor, sample_rate: int = SAMPLE_RATE) -> NDArray[np.int16]:
    """Turn mono samples into 16 kHz int16, as datasets hold them.

    Args:
        audio: int16, or floats in [-1, 1].
        sample_rate: Samples per second of it.

    Shape: [S] -> [S'].

    Raises:
        AudioError: When it is not one row of such numbers.
    """
    samples = np.asarray(audio.detach().cpu() if isinstance(audio, Tensor) else audio)
    if samples.ndim != 1:
        raise AudioError(f"samples of shape {list(samples.shape)}; one channel is taken, of shape [samples]")
    if samples.dtype != np.int16:
        if not np.issubdtype(samples.dtype, np.floating):
            raise AudioError(f"samples of type {samples.dtype}; give int16, or floats between -1 and 1")
        if not np.isfinite(samples).all():
            raise AudioError("NaN or infinite samples; was the file decoded with the right type?")
        samples = samples.astype(np.float32)
    return to_int16(samples, sample_rate)
