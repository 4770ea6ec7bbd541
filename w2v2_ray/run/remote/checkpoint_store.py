"""Where training states of a run on an object store are kept: put in the background, committed by a manifest put last.

Every worker writes its share to its node's disk, puts it into a folder named after the attempt, and leaves a marker;
the first worker puts the manifest once all markers are there. Training goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2v2_ray.errors import RunFailedError, W2v2RayError
from w2v2_ray.places.storage import Location
from w2v2_ray.run.checkpoints.fence import SupersededError
from w2v2_ray.run.checkpoints.files import CheckpointManifest, name_of
from w2v2_ray.run.checkpoints.store import COMMIT_TIMEOUT_S, CheckpointStore, Save
from w2v2_ray.run.remote.states import RemoteStates

_FIRST_LOOK_S = 0.05
_LONGEST_LOOK_S = 1.0


class RemoteCheckpointStore(CheckpointStore):
    """The checkpoints of one run on an object store.

    Args:
        folder: `checkpoints` in the working folder on this node; holds the manifests on worker 0.
        states: On the store.
        before_commit: Puts what must be there before a state is, such as the metrics up to it.
        others: As of `CheckpointStore`.
    """

    def __init__(
        self, folder: Path, *args: Any, states: RemoteStates, before_commit: Callable[[], object], **others: Any
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, *args, **others)
        self._states = states
        self._before_commit = before_commit
        self._saves = 0
        for stale in folder.glob(".writing-*"):  # of this node
            if not stale.name.endswith(f"-{self._attempt}"):
                shutil.rmtree(stale, ignore_errors=True)
        if self._rank == 0:
            self._writer.submit(self._sweep)

    def _sweep(self) -> None:
        with contextlib.suppress(OSError, W2v2RayError):  # the next attempt tries again
            self._states.sweep(self._attempt)

    def save(self, manifest: CheckpointManifest, write: Callable[[Path], object]) -> float:
        """Save this worker's share in the background; see `CheckpointStore.save`."""
        # A save that is made again must not find the markers of the one that was given up.
        self._saves += 1
        return super().save(replace(manifest, folder=f"{self._attempt}-{self._saves:06d}"), write)

    def _write_share(self, manifest: CheckpointManifest, hidden: Path, write: Callable[[Path], object]) -> None:
        try:
            super()._write_share(manifest, hidden, write)
            place = self._place(manifest)
            share, marker = hidden / f"rank-{self._rank:05d}", hidden / f"rank-{self._rank:05d}.json"
            for path in sorted(share.iterdir()):
                (place / path.name).put(path)
            (place / marker.name).put(marker)
        finally:
            self._clear(hidden)

    def _clear(self, hidden: Path) -> None:
        """Remove this worker's share from this node; the folder goes when its last share has gone."""
        shutil.rmtree(hidden / f"rank-{self._rank:05d}", ignore_errors=True)
        with contextlib.suppress(OSError):
            (hidden / f"rank-{self._rank:05d}.json").unlink(missing_ok=True)
            hidden.rmdir()

    def _wait_for_shares(self, save: Save) -> list[Path]:
        place = self._place(save.manifest)
        markers = [save.hidden / f"rank-{rank:05d}.json" for rank in range(self._world_size)]
        deadline, pause_s = time.monotonic() + COMMIT_TIMEOUT_S, _FIRST_LOOK_S
        while not {marker.name for marker in markers} <= {*place.names()}:
            if time.monotonic() > deadline:
                raise RunFailedError(f"{place}: other workers did not finish their shares in {COMMIT_TIMEOUT_S:.0f} s")
            if self._abandoned.wait(pause_s) or save.abandoned.is_set():
                raise RunFailedError(f"{place}: given up, because training failed before all shares were there")
            pause_s = min(_LONGEST_LOOK_S, 2 * pause_s)
        return markers

    def _commit(self, save: Save, markers: list[Path], final: Path) -> None:
        """Put the manifest."""
        place = self._place(save.manifest)
        for marker in markers:
            save.manifest.files.update(json.loads((place / marker.name).read_bytes()))
        self._before_commit()
        if not self._may_commit():
            raise SupersededError(f"{place}: a newer attempt has taken this run over")
        self._states.commit(save.manifest, final.name)
        for marker in markers:
            with contextlib.suppress(OSError, W2v2RayError):
                (place / marker.name).delete()

    def drop(self) -> None:
        """Give up the last save; what was put of it is deleted in the background."""
        dropped = self._pending
        super().drop()
        if dropped is not None:
            self._writer.submit(self._forget, dropped.manifest)

    def _forget(self, manifest: CheckpointManifest) -> None:
        with contextlib.suppress(OSError, W2v2RayError):  # else the next attempt sweeps it away
            self._states.forget_share(name_of(manifest), manifest.folder, self._rank)

    def _place(self, manifest: CheckpointManifest) -> Location:
        return self._states.location / name_of(manifest) / manifest.folder

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(OSError, W2v2RayError):  # one that cannot be deleted stays
            self._states.remove(path)
