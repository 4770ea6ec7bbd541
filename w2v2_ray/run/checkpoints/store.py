"""Where training states are kept: written in the background, committed in one step.

Workers write their shares into a hidden folder and leave a marker each; the first worker renames the folder once all
markers are there. No collective is involved, so training goes on meanwhile. `checkpoint_files.py` says what is in it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from w2v2_ray.errors import RunFailedError
from w2v2_ray.places.checksums import sha256_of
from w2v2_ray.places.durable import sync, write_text
from w2v2_ray.run.checkpoints.fence import SupersededError
from w2v2_ray.run.checkpoints.files import (
    MANIFEST,
    CheckpointManifest,
    best_checkpoint,
    list_checkpoints,
    list_kind,
    manifest_text,
    name_of,
    remove_state,
    update_of,
)
from w2v2_ray.spec.job import CheckpointSpec

COMMIT_TIMEOUT_S = 1800.0
"""For so long the first worker waits for the shares of the others."""
_KEPT_SNAPSHOTS = 2


@dataclass
class Save:
    """A save under way: this worker's share and, on worker 0, the commit of all shares.

    `manifest` and `hidden` say what and where; `abandoned` makes worker 0 stop waiting for the others' shares.
    """

    manifest: CheckpointManifest
    hidden: Path
    abandoned: threading.Event
    share: Future[None]
    commit: Future[None] | None = None

    @property
    def futures(self) -> list[Future[None]]:
        """What has to be waited for."""
        return [self.share] if self.commit is None else [self.share, self.commit]


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: `<run>/checkpoints`, seen by every worker.
        spec: How many to keep.
        attempt: A name shared by the workers of this attempt and by no other, so that what a killed attempt left
            half-written is never taken for ours.
        world_rank: This worker; worker 0 commits and prunes.
        world_size: Workers that save together.
        on_commit: Called on worker 0, from the background thread, with every committed checkpoint.
        may_commit: Asked on worker 0 before it renames or deletes anything; False when the run has a newer attempt.
    """

    def __init__(
        self,
        folder: Path,
        spec: CheckpointSpec,
        *,
        attempt: str,
        world_rank: int,
        world_size: int,
        on_commit: Callable[[CheckpointManifest, Path, float], None] | None = None,
        may_commit: Callable[[], bool] = lambda: True,
    ) -> None:
        self.folder = folder
        self._spec = spec
        self._attempt = attempt
        self._rank = world_rank
        self._world_size = world_size
        self._on_commit = on_commit
        self._may_commit = may_commit
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="w2v2-ray-checkpoint")
        self._pending: Save | None = None
        self._abandoned = threading.Event()
        if world_rank == 0:
            for stale in folder.glob(".writing-*"):
                # Another worker of this attempt may already be writing.
                if not stale.name.endswith(f"-{attempt}"):
                    shutil.rmtree(stale, ignore_errors=True)

    @property
    def busy(self) -> bool:
        """Whether this worker's part of the last save is still being written."""
        return self._pending is not None and not all(future.done() for future in self._pending.futures)

    @property
    def problem(self) -> str | None:
        """Why this worker's part of the last save failed, once it has; None while it has not."""
        if self._pending is None or self.busy:
            return None
        return next((describe_problem(f.exception()) for f in self._pending.futures if f.exception()), None)

    @property
    def share_problem(self) -> str | None:
        """Why this worker's own share of the last save failed, or None; waits until it is written."""
        if self._pending is None:
            return None
        error = self._pending.share.exception()
        return describe_problem(error) if error else None

    def save(self, manifest: CheckpointManifest, write: Callable[[Path], object]) -> float:
        """Save this worker's share in the background. Every worker calls it for the same update.

        Args:
            manifest: What the checkpoint says of itself; its files are filled in here.
            write: Writes this worker's files into a folder. It must not touch live training state.

        Returns:
            Seconds spent waiting for the previous save, 0 when that had finished.

        Raises:
            RunFailedError: When the previous save failed.
        """
        started = time.perf_counter()
        self.wait()
        waited_s = time.perf_counter() - started
        hidden = self.folder / f".writing-{name_of(manifest)}-{self._attempt}"
        abandoned = threading.Event()
        began = time.perf_counter()
        share = self._writer.submit(self._write_share, manifest, hidden, write)
        self._pending = Save(manifest, hidden, abandoned, share)
        if self._rank == 0:
            self._pending.commit = self._writer.submit(self._finish, self._pending, began)
        return waited_s

    def wait(self) -> None:
        """Wait until the last save is on disk (and, on worker 0, committed).

        Raises:
            RunFailedError: When it failed; training state saved before is untouched.
        """
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        try:
            for future in pending.futures:
                future.result()
        except OSError as error:
            raise RunFailedError(f"{self.folder}: {describe_problem(error)}") from error

    def drop(self) -> None:
        """Give up the last save, because a worker's part of it failed, and remove what this worker wrote of it."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        pending.abandoned.set()
        for future in pending.futures:
            future.exception()
        # Worker 0 cannot tell whether the others are still writing; the folder goes when its last share has gone.
        shutil.rmtree(pending.hidden / f"rank-{self._rank:05d}", ignore_errors=True)
        # The storage may be away; training does not end of what is left lying about.
        with contextlib.suppress(OSError):
            (pending.hidden / f"rank-{self._rank:05d}.json").unlink(missing_ok=True)
            pending.hidden.rmdir()

    def close(self) -> None:
        """Finish writing and release the thread."""
        self.wait()
        self._writer.shutdown(wait=True)

    def abandon(self) -> None:
        """Stop waiting for shares of other workers, since training failed; does nothing once closed."""
        self._abandoned.set()
        self._writer.shutdown(wait=False)

    def _write_share(self, manifest: CheckpointManifest, hidden: Path, write: Callable[[Path], object]) -> None:
        share = hidden / f"rank-{self._rank:05d}"
        share.mkdir(parents=True, exist_ok=True)
        write(share)
        files = {}
        for path in sorted(share.iterdir()):
            files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        write_text(hidden / f"rank-{self._rank:05d}.json", json.dumps(files))

    def _finish(self, save: Save, began: float) -> None:
        """Commit once every share is there. On worker 0's thread, after its own share."""
        if save.share.exception():
            return
        final = self.folder / name_of(save.manifest)
        markers = self._wait_for_shares(save)
        try:
            self._commit(save, markers, final)
        except BaseException:
            shutil.rmtree(save.hidden, ignore_errors=True)
            raise
        if self._on_commit is not None:
            self._on_commit(save.manifest, final, time.perf_counter() - began)
        self.prune(save.manifest.update)

    def _wait_for_shares(self, save: Save) -> list[Path]:
        hidden = save.hidden
        markers = [hidden / f"rank-{rank:05d}.json" for rank in range(self._world_size)]
        deadline = time.monotonic() + COMMIT_TIMEOUT_S
        while not all(marker.exists() for marker in markers):
            if time.monotonic() > deadline:
                raise RunFailedError(f"{hidden}: other workers did not finish their shares in {COMMIT_TIMEOUT_S:.0f} s")
            if self._abandoned.wait(0.02) or save.abandoned.is_set():
                raise RunFailedError(f"{hidden}: given up, because training failed before all shares were there")
        return markers

    def _commit(self, save: Save, markers: list[Path], final: Path) -> None:
        """Gather the shares of all workers into one folder and give it its name."""
        hidden, manifest = save.hidden, save.manifest
        for rank, marker in enumerate(markers):
            for name, facts in json.loads(marker.read_text()).items():
                (hidden / f"rank-{rank:05d}" / name).rename(hidden / name)
                manifest.files[name] = facts
            (hidden / f"rank-{rank:05d}").rmdir()
            marker.unlink()
        write_text(hidden / MANIFEST, manifest_text(manifest))
        sync(hidden)
        if not self._may_commit():
            raise SupersededError(f"{hidden}: a newer attempt has taken this run over")
        if final.exists():
            # The same update saved again after a rewind: the new one replaces it.
            shutil.rmtree(final)
        hidden.rename(final)
        sync(self.folder)

    def prune(self, update: int) -> None:
        """Delete checkpoints that the spec does not keep: all but the newest, milestones and the best.

        Args:
            update: Where the run is. Checkpoints beyond it were found damaged when the run resumed; they do not count
                as newest, or they would push out the good ones. The run replaces them when it gets there.
        """
        found = [path for path in list_checkpoints(self.folder) if update_of(path) <= update]
        keep = set(found[-self._spec.keep_last :])
        milestone = self._spec.milestone_updates
        if milestone is not None:
            keep |= {path for path in found if update_of(path) % milestone == 0 and update_of(path) > 0}
        best = best_checkpoint(self.folder, update) if self._spec.keep_best else None
        for path in found:
            if path not in keep and path != best:
                self._remove(path)
        snapshots = [path for path in list_kind(self.folder, "snapshot") if update_of(path) <= update]
        for path in snapshots[:-_KEPT_SNAPSHOTS]:
            self._remove(path)

    def _remove(self, path: Path) -> None:
        remove_state(path)


def describe_problem(error: BaseException | None) -> str:
    """What a failed save is reported as."""
    if isinstance(error, OSError):
        return (
            f"saving a checkpoint failed ({error.strerror or error}); earlier ones are intact. "
            "Free space or check permissions, then run the same command to resume"
        )
    return str(error)
