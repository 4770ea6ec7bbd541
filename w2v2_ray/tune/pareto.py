"""Which configurations are not beaten in everything by another one."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(costs: Sequence[Sequence[float]]) -> list[int]:
    """Indices of what nothing dominates, in the order given.

    One entry dominates another when it is nowhere worse and somewhere better. Equal entries do not dominate each
    other: both stay.

    Args:
        costs: Smaller is better in every column; negate what should be large. Shape: [entries][objectives].

    Raises:
        ValueError: Entries of different lengths.
    """
    if len({len(entry) for entry in costs}) > 1:
        raise ValueError("every entry needs the same number of objectives")
    return [i for i, mine in enumerate(costs) if not any(_dominates(other, mine) for other in costs)]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
