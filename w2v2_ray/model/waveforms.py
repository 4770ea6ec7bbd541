"""Samples as a network takes them: floats, padded to a batch, scaled where the model wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

INT16_SCALE = 1.0 / 32768.0
"""Turns int16 samples into floats in [-1, 1)."""


def normalise_valid(waveform: Tensor, lengths: Tensor, eps: float) -> Tensor:
    """Scale each row's valid samples to zero mean and unit variance, padding to zero (reference `normalize`).

    Shape: waveform [B, S], lengths [B] -> [B, S].
    """
    valid = torch.arange(waveform.shape[1], device=waveform.device) < lengths[:, None]
    count = lengths[:, None].to(waveform.dtype)
    mean = (waveform * valid).sum(1, keepdim=True) / count
    centred = (waveform - mean) * valid
    variance = centred.square().sum(1, keepdim=True) / count
    return centred / torch.sqrt(variance + eps)


def padded_batch(
    waveforms: Sequence[NDArray[np.int16]], device: torch.device, normalize_eps: float | None
) -> tuple[Tensor, Tensor]:
    """Put waveforms below each other, their ends padded with zeros.

    Args:
        waveforms: 16 kHz mono int16, each [S] of its own length.
        device: Where the model is.
        normalize_eps: For `normalise_valid`; None leaves the scale as it is.

    Returns:
        Samples and the valid samples of each row.

    Shape: -> [B, S], [B].
    """
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    padded = np.zeros((len(waveforms), int(lengths.max())), dtype=np.int16)
    for row, waveform in enumerate(waveforms):
        padded[row, : len(waveform)] = waveform
    lengths = lengths.to(device)
    x = torch.from_numpy(padded).to(device).float().mul_(INT16_SCALE)
    return (x if normalize_eps is None else normalise_valid(x, lengths, normalize_eps)), lengths


def row_by_row(
    waveforms: Sequence[NDArray[np.int16]],
    num_frames: Callable[[int], int],
    compute: Callable[[list[NDArray[np.int16]]], NDArray[Any]],
    nothing: NDArray[Any],
) -> list[NDArray[Any]]:
    """Compute waveforms as one batch and give each its own frames; those too short for a frame are left out of it.

    Args:
        waveforms: 16 kHz mono int16, each [S].
        num_frames: Frames of so many samples.
        compute: Frames of a padded batch [B, T, ...].
        nothing: What one of no frame gives [0, ...].

    Shape: for each waveform [T, ...].
    """
    heard = [row for row, waveform in enumerate(waveforms) if num_frames(len(waveform))]
    results = [nothing] * len(waveforms)
    if heard:
        array = compute([waveforms[row] for row in heard])
        for number, row in enumerate(heard):
            results[row] = array[number, : num_frames(len(waveforms[row]))].copy()
    return results
