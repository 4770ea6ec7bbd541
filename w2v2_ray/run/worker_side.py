"""What the first worker of an attempt does at the object store while it trains."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.run.remote.mirror import Mirror, MirrorTask

_LOOK_EVERY_S = 2.0
_PUSH_EVERY_S = 5.0
_TENSORBOARD_EVERY_S = 60.0
_LAST_PATIENCE_S = 20.0


@contextmanager
def follow_run(run: RunFolder, fence: Fence, *, first: bool) -> Iterator[Callable[[], object]]:
    """Take a run's logs and manifests over from earlier attempts, and put what this one adds to them.

    Args:
        run: On a shared file system nothing is done.
        fence: Says whether this attempt may write.
        first: Whether this is the first worker; the others do nothing.

    Yields:
        Puts, before a state is committed, what the run must not lose when it resumes from it.
    """
    remote = run.remote
    if remote is None or not first:
        yield lambda: None
        return
    remote.pull(samples=True)

    def push() -> None:
        if fence.holds():
            remote.push_worker_files()

    def push_board() -> None:
        if fence.holds():
            remote.push_tensorboard()

    def tell(reason: str) -> None:
        run.event("storage_failed", reason=reason[:500])

    pushing, board = MirrorTask(push, _PUSH_EVERY_S), MirrorTask(push_board, _TENSORBOARD_EVERY_S)
    mirror = Mirror([MirrorTask(remote.notes.look, _LOOK_EVERY_S), pushing, board], tell)
    try:
        yield pushing.run
    finally:
        # After an error too: what it was is in the events. A state that was committed is safe without this.
        with contextlib.suppress(OSError):
            mirror.close(pushing, board, patience_s=_LAST_PATIENCE_S)
