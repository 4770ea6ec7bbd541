"""How a figure is spread over the utterances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_FEWEST_BINS, _MOST_BINS = 8, 40
_OUTSIDE = 0.005
"""Share of the values, at each end, that may lie so far out that the rest would fill a bin or two."""


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of equal width.

    Args:
        edges: Of the bins, one more than there are bins.
        counts: Utterances in each.
        below: Utterances below the first edge.
        above: Utterances above the last.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    below: int
    above: int


def histogram_of(values: npt.NDArray[np.float64]) -> Histogram:
    """Count values; the outermost half per cent at each end is left to `below` and `above`.

    Shape:
        values [utterances], at least one
    """
    low = np.quantile(values, _OUTSIDE, method="lower")
    high = np.quantile(values, 1 - _OUTSIDE, method="higher")
    bins = int(np.clip(np.sqrt(len(values)), _FEWEST_BINS, _MOST_BINS))
    counts, edges = np.histogram(values, bins, (float(low), float(high)))
    return Histogram(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        below=int((values < edges[0]).sum()),
        above=int((values > edges[-1]).sum()),
    )
