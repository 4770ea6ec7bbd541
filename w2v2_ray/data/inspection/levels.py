"""How loud, clipped and silent the utterances of a dataset are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from w2v2_ray.audio.samples import SAMPLE_RATE, Samples
from w2v2_ray.audio.signal import INT16_SCALE, Channel, SignalLimits, clipped_fraction, decibels
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.index import Int32Array
from w2v2_ray.data.inspection.histogram import Histogram, histogram_of

SILENCE_DBFS = -60.0
"""Pieces of a tenth of a second below this level count as silence."""

Figures = tuple[float, float, float, float]
FigureArray = npt.NDArray[np.float64]
"""Of each utterance, by `figures_of`. Shape: [utterances, 4]."""

FIGURES = 4
_PIECE_SAMPLES = SAMPLE_RATE // 10
_PERCENTILES = (5, 50, 95)


@dataclass(frozen=True)
class Percentiles:
    """Of one figure over the utterances."""

    lowest: float
    p5: float
    median: float
    p95: float
    highest: float


@dataclass(frozen=True)
class LevelReport:
    """The signal of a dataset.

    Args:
        level_dbfs: RMS of an utterance without its offset; -200 for digital silence.
        peak_dbfs: Its largest sample.
        clipped_fraction: Samples at full scale, several in a row, of all samples.
        clipped_utterances: Utterances with such samples.
        silence_fraction: Audio in pieces of 0.1 s below -60 dBFS, of all audio.
        silent_utterances: Utterances of a lower level than `prepare` keeps unless told otherwise.
        level_histogram: Utterances of each level.
    """

    level_dbfs: Percentiles
    peak_dbfs: Percentiles
    clipped_fraction: float
    clipped_utterances: int
    silence_fraction: float
    silent_utterances: int
    level_histogram: Histogram


def measure_levels(dataset: SpeechDataset) -> LevelReport:
    """Read all audio of a dataset, one utterance after the other."""
    figures = np.empty((len(dataset), FIGURES))
    for index in range(len(dataset)):
        figures[index] = figures_of(dataset.audio(index))
    return level_report(figures, dataset.num_samples)


def level_report(figures: FigureArray, num_samples: Int32Array) -> LevelReport:
    """Sum up a dataset's utterances.

    Args:
        figures: Of each, by `figures_of`.
        num_samples: Its length. Shape: [utterances].
    """
    level, peak, clipped, silent = figures.T
    samples = num_samples.astype(np.float64)
    return LevelReport(
        level_dbfs=percentiles(level),
        peak_dbfs=percentiles(peak),
        clipped_fraction=float((clipped * samples).sum() / samples.sum()),
        clipped_utterances=int((clipped > 0).sum()),
        silence_fraction=float((silent * samples).sum() / samples.sum()),
        silent_utterances=int((level < SignalLimits().min_level_dbfs).sum()),
        level_histogram=histogram_of(level),
    )


def figures_of(samples: Samples) -> Figures:
    """Level, peak, and the fractions of samples that are clipped and silent."""
    channel = Channel.of(samples)
    return (
        decibels(channel.power),
        decibels(channel.peak**2),
        clipped_fraction(channel),
        _silence(samples, channel.mean),
    )


def _silence(samples: Samples, mean: float) -> float:
    """Fraction in pieces that are silent; what is left over at the end goes with the last whole piece."""
    waves = samples.astype(np.float32) / np.float32(INT16_SCALE) - np.float32(mean)
    whole = len(waves) // _PIECE_SAMPLES * _PIECE_SAMPLES
    pieces = waves[:whole].reshape(-1, _PIECE_SAMPLES) if whole else waves[None]
    power = np.einsum("ps,ps->p", pieces, pieces) / pieces.shape[1]
    return float((power < 10 ** (SILENCE_DBFS / 10)).mean())


def percentiles(values: npt.NDArray[np.float64]) -> Percentiles:
    """Of one figure over the utterances. Shape: [utterances]."""
    low, median, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    return Percentiles(float(values.min()), low, median, high, float(values.max()))
