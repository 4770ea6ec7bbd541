"""Nothing waits in silence: what is waited for is told when that changes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from w2v2_ray.orchestration.cluster_state import look_at_cluster
from w2v2_ray.orchestration.supply import Supply, waiting_for, workers_that_fit

_LOOK_INTERVAL_S = 2.0
_PASSING_S = 6.0
"""Resources that are merely in use are soon free when they are those of our own last workers."""

_SIGN_OF_LIFE_S = 60.0
"""It is told again after so long, so that a run that waits is told from one whose driver has died."""

Look = Callable[[dict[str, float]], Supply]


class WaitingNote:
    """Writes the event `waiting` of a run whose controller has no workers.

    Args:
        event: Writes an event.
        look: Looks at the cluster.
        clock: Monotonic seconds.
    """

    def __init__(
        self, event: Callable[..., None], look: Look = look_at_cluster, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._event = event
        self._look = look
        self._clock = clock
        self._looked = float("-inf")
        self._large_enough_since: float | None = None
        self._supply: Supply | None = None
        self._reported = ""
        self._reported_at = float("-inf")

    def room(self, needs: dict[str, float], workers: int) -> bool:
        """Whether the nodes are large enough, in use or not; true when nobody can tell."""
        supply = self._newest(needs)
        return supply is None or workers_that_fit(supply.nodes, needs) >= workers

    def look(self, needs: dict[str, float], workers: int) -> None:
        """Tell what is waited for, if it is another thing than before.

        Args:
            needs: Of one worker.
            workers: The least to start with.
        """
        now = self._clock()
        supply = self._newest(needs)
        if supply is None:
            return
        if workers_that_fit(supply.nodes, needs) >= workers:
            self._large_enough_since = now if self._large_enough_since is None else self._large_enough_since
            if now - self._large_enough_since < _PASSING_S:
                return
        else:
            self._large_enough_since = None
        text = waiting_for(needs, workers, supply) or "waiting: there is room, but it is set aside for other runs"
        if text != self._reported or now - self._reported_at >= _SIGN_OF_LIFE_S:
            self._reported, self._reported_at = text, now
            with contextlib.suppress(OSError):
                self._event("waiting", reason=text)

    def over(self) -> None:
        """Workers run."""
        self._reported, self._large_enough_since = "", None

    def _newest(self, needs: dict[str, float]) -> Supply | None:
        now = self._clock()
        if now - self._looked >= _LOOK_INTERVAL_S:
            self._looked = now
            try:
                self._supply = self._look(needs)
            except Exception:  # the control store may be busy; training does not depend on what is told of it
                self._supply = None
        return self._supply


@contextmanager
def tell_of_waiting(
    needs: dict[str, float],
    notify: Callable[[str], None],
    *,
    look: Look = look_at_cluster,
    interval_s: float = _LOOK_INTERVAL_S,
) -> Iterator[None]:
    """While the block runs Ray tasks, say so when no node of the cluster has room for a single one of them.

    Args:
        needs: Of one task.
        notify: Told what is waited for, when that changes.
        look: Looks at the cluster.
        interval_s: Between two looks.
    """
    stop = threading.Event()

    def watch() -> None:
        told: Any = None
        while not stop.wait(interval_s):
            with contextlib.suppress(Exception):
                supply = look(needs)
                text = waiting_for(needs, 1, replace(supply, free=supply.nodes))
                if text and text != told:
                    notify(text)
                told = text

    thread = threading.Thread(target=watch, name="w2v2-ray-waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
