"""An end to training after a number of updates or seconds, whatever the job's schedule would do afterwards."""

from __future__ import annotations

from typing import Any

from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.training.hooks import NoHooks


class BudgetSpent(Exception):  # noqa: N818  an end, not an error
    """Training has had what it was given."""


def trained_s(records: list[dict[str, Any]]) -> list[float]:
    """Seconds of training up to each metrics line; start, validation and saving are not counted.

    `update_s` is the mean of the updates since the line before.
    """
    total, before, times = 0.0, 0, []
    for record in records:
        total += float(record["update_s"]) * (int(record["update"]) - before)
        before = int(record["update"])
        times.append(total)
    return times


class Budget(NoHooks):
    """Ends training by raising `BudgetSpent` after an update.

    Args:
        run: Whose metrics tell what an earlier attempt has spent.
        updates: Last update, or None.
        seconds: Training time, or None.
    """

    def __init__(self, run: RunFolder, updates: int | None, seconds: float | None) -> None:
        self._run = run
        self._updates = updates
        self._seconds = seconds
        self._spent_s: float | None = None
        self._counted = 0

    def on_update(self, update: int, record: dict[str, Any] | None) -> None:
        """Add up.

        Raises:
            BudgetSpent: When either limit is reached.
        """
        if record is not None:
            if self._spent_s is None:
                self._spent_s = (trained_s(list(read_lines(self._run.metrics))) or [0.0])[-1]
            else:
                self._spent_s += float(record["update_s"]) * (update - self._counted)
            self._counted = update
        over_updates = self._updates is not None and update >= self._updates
        over_time = self._seconds is not None and self._spent_s is not None and self._spent_s >= self._seconds
        if over_updates or over_time:
            raise BudgetSpent
