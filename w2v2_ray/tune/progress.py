"""Tells whoever runs a sweep of every trial that ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ray.tune import Callback

Listener = Callable[[dict[str, Any], dict[str, Any]], None]


class ShowTrials(Callback):
    """Passes on trials that complete.

    The listener belongs to the class, not to the object: Ray Tune keeps the object in its snapshots, and a restored
    one has to find the listener of the process that restored it.
    """

    listener: ClassVar[Listener | None] = None

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Pass on a trial's configuration and last report."""
        if ShowTrials.listener is not None:
            ShowTrials.listener(dict(trial.config), dict(trial.last_result or {}))
