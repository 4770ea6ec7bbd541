"""The largest `batch.concat` that fits, by bisection."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def concat_values(sub_batches_per_update: int, largest: int | None) -> list[int]:
    """Values that a job may have: divisors of the update, rising."""
    limit = min(largest or sub_batches_per_update, sub_batches_per_update)
    return [value for value in range(1, limit + 1) if sub_batches_per_update % value == 0]


def largest_that_fits(values: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """The largest value that fits, when whatever is smaller than one that fits does too; None when none does.

    The smallest is tried first: where even that does not fit there is nothing to look for. Then the largest, which
    often fits; then halves.
    """
    if not values or not fits(values[0]):
        return None
    if len(values) == 1 or fits(values[-1]):
        return values[-1]
    low, high = 0, len(values) - 1  # values[low] fits, values[high] does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(values[middle]) else (low, middle)
    return values[low]
