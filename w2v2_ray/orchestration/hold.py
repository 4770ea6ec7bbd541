"""Holding a run: one driver at a time, and on an object store its logs kept alike with the store's meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from w2v2_ray.errors import StorageError
from w2v2_ray.orchestration.remote_lock import HEARTBEAT_S, RemoteLock
from w2v2_ray.orchestration.run_lock import run_lock
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.run.remote.mirror import Mirror, MirrorTask

_EVENTS_EVERY_S = 5.0
_METRICS_EVERY_S = 3.0
_LAST_PATIENCE_S = 20.0


@contextmanager
def hold_run(run: RunFolder, notify: Callable[[str], None] = lambda message: None) -> Iterator[None]:
    """Hold a run for this process while the block runs.

    Raises:
        StorageError: When another process holds it.
    """
    remote = run.remote
    if remote is None:
        with run_lock(run.path):
            yield
        return
    lock = RemoteLock(remote.location)
    lock.acquire(notify)
    # The heart must not wait for anything else.
    heart = Mirror([MirrorTask(lock.beat, HEARTBEAT_S)])
    try:
        remote.pull()  # what another driver may have added since this one looked
        remote.pull_start()
        with _mirrored(run, notify):
            yield
    finally:
        heart.close(patience_s=0.0)
        with contextlib.suppress(OSError, StorageError):
            lock.release()


@contextmanager
def _mirrored(run: RunFolder, notify: Callable[[str], None]) -> Iterator[None]:
    """Bring metrics here and put events, while the block runs and once after it."""
    remote = run.remote
    assert remote is not None
    metrics, events = (
        MirrorTask(remote.pull_metrics, _METRICS_EVERY_S),
        MirrorTask(remote.push_events, _EVENTS_EVERY_S),
    )
    mirror = Mirror([metrics, events], lambda reason: run.event("storage_failed", reason=reason[:500]))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            problem = mirror.close(metrics, events, patience_s=_LAST_PATIENCE_S)
            if problem:
                notify(f"{run.place}: the last events could not be put there ({problem}); they are in {run.path}")
