"""The thread that keeps a run's working folder and the object store alike while the run goes on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from w2v2_ray.errors import StorageError, StorageUnavailableError

_LOOK_S = 1.0
_COST_SHARE = 20
"""A task that takes long is done the more rarely: at most a twentieth of the thread's time goes into it."""
Trouble = Callable[[str], None]


class MirrorTask:
    """Something to be done again and again.

    Args:
        action: Raises `StorageError` or `StorageUnavailableError` when the storage fails; it is then tried again later.
        every_s: Time between two calls, more when they take long.
    """

    def __init__(self, action: Callable[[], object], every_s: float) -> None:
        self._action = action
        self._every_s = every_s
        self._due = 0.0
        self._lock = threading.Lock()

    def run_if_due(self) -> None:
        """Call the action when it is time."""
        if time.monotonic() >= self._due:
            self.run()

    def run(self) -> None:
        """Call the action now."""
        with self._lock:
            started = time.monotonic()
            try:
                self._action()
            finally:
                ended = time.monotonic()
                self._due = ended + max(self._every_s, _COST_SHARE * (ended - started))


class Mirror:
    """Runs tasks from a thread of its own, until it is closed.

    Args:
        tasks: What it does.
        trouble: Told when the storage begins to fail, once until it works again.
    """

    def __init__(self, tasks: list[MirrorTask], trouble: Trouble = lambda reason: None) -> None:
        self._tasks = tasks
        self._trouble = trouble
        self._failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="w2v2-ray-mirror", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            failed: str | None = None
            for task in self._tasks:
                try:
                    task.run_if_due()
                except (StorageError, StorageUnavailableError) as error:
                    failed = error.message
                except OSError as error:  # this node's disk
                    failed = str(error)
            if failed and not self._failing:
                with contextlib.suppress(OSError):
                    self._trouble(failed)
            self._failing = failed is not None

    def close(self, *last: MirrorTask, patience_s: float) -> str | None:
        """Stop, and run some tasks a last time, again and again while the storage fails and patience lasts.

        Returns:
            Why a task failed until the end, or None.
        """
        self._stop.set()
        self._thread.join()
        deadline = time.monotonic() + patience_s
        problem = None
        for task in last:
            while True:
                try:
                    task.run()
                    break
                except (StorageError, OSError) as error:
                    problem = str(error)
                    if time.monotonic() >= deadline:
                        break
                    time.sleep(1.0)
                    problem = None
        return problem
