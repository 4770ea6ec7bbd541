"""Several measurements of one figure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median and range of several measurements.

    Attributes:
        median: Of them.
        low: The least.
        high: The most.
        count: How many.
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise them.

        Raises:
            statistics.StatisticsError: When there are none.
        """
        return cls(statistics.median(values), min(values), max(values), len(values))
