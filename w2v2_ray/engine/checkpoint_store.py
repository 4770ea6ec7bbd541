"""Where training states are kept: written in the background, committed in one step, verified before use.

A checkpoint is a folder `update-00001000` that holds each worker's share of the state and `checkpoint.json`, a list of
its files with sizes and checksums. A snapshot, `snapshot-00001000`, is the same but for its name: only the newest two
are kept. Workers write their shares into a hidden folder and leave a marker each; the first worker renames the folder
once all markers are there. No collective is involved, so training goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from w2v2_ray.engine.fence import SupersededError
from w2v2_ray.engine.run_folder import write_text
from w2v2_ray.errors import CheckpointError, RunFailedError
from w2v2_ray.spec.job import CheckpointSpec

FORMAT = "w2v2-ray training state"
FORMAT_VERSION = 1
MANIFEST = "checkpoint.json"
StateKind = Literal["checkpoint", "snapshot"]
_PREFIXES: dict[StateKind, str] = {"checkpoint": "update-", "snapshot": "snapshot-"}
_KEPT_SNAPSHOTS = 2
_COMMIT_TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class CheckpointManifest:
    """What a checkpoint says of itself.

    Attributes:
        update: Updates completed.
        epoch: Epoch that the next micro-batch belongs to.
        world_size: Workers that wrote it; for the record only, any number can load it.
        identity: What must agree for a run to go on: digests of the spec's parts and of the dataset.
        validation: Held-out measurements at this update, where it was validated.
        files: Size in bytes and SHA-256 of each file.
        kind: Whether it is kept, or replaced by the next snapshots.
        watchdog: State of the watchdog.
        rollbacks: How many rollbacks the run had had.
    """

    update: int
    epoch: int
    world_size: int
    identity: dict[str, str]
    validation: dict[str, float] | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    kind: StateKind = "checkpoint"
    watchdog: dict[str, Any] | None = None
    rollbacks: int = 0
    format: str = FORMAT
    format_version: int = FORMAT_VERSION


def read_manifest(folder: Path) -> CheckpointManifest:
    """Read `checkpoint.json`.

    Raises:
        CheckpointError: When it is missing, not ours, or of a newer format.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text())
        # Before the fields: those of another version may be others.
        _check_format(path, content["format"], int(content["format_version"]))
        manifest = CheckpointManifest(**content)
        for facts in manifest.files.values():
            int(facts["bytes"]), str(facts["sha256"])
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: not a checkpoint ({MANIFEST} is missing)") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: unreadable ({error}); use an earlier checkpoint") from error
    return manifest


def _check_format(path: Path, name: str, version: int) -> None:
    if name != FORMAT or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format {name!r} version {version}, but this release reads "
            f"{FORMAT!r} up to version {FORMAT_VERSION}; upgrade w2v2-ray"
        )


def verify(folder: Path) -> CheckpointManifest:
    """Check every file of a checkpoint against its size and checksum.

    Raises:
        CheckpointError: Naming the first file that differs.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.exists():
            raise CheckpointError(f"{path}: missing; use an earlier checkpoint")
        try:
            size = path.stat().st_size
            if size != expected["bytes"]:
                raise CheckpointError(f"{path}: {size} bytes, expected {expected['bytes']}; use an earlier checkpoint")
            if _sha256(path) != expected["sha256"]:
                raise CheckpointError(f"{path}: its checksum differs, the file was altered; use an earlier checkpoint")
        except OSError as error:
            raise CheckpointError(f"{path}: unreadable ({error.strerror}); use an earlier checkpoint") from error
    return manifest


@dataclass
class _Save:
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
        self._pending: _Save | None = None
        self._abandoned = threading.Event()
        if world_rank == 0:
            for stale in folder.glob(".writing-*"):
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
        share = self._writer.submit(self._write_share, hidden, write)
        self._pending = _Save(manifest, hidden, abandoned, share)
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
        (pending.hidden / f"rank-{self._rank:05d}.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            pending.hidden.rmdir()

    def close(self) -> None:
        """Finish writing and release the thread."""
        self.wait()
        self._writer.shutdown(wait=True)

    def abandon(self) -> None:
        """Stop waiting for shares of other workers, since training failed; does nothing once closed."""
        self._abandoned.set()
        self._writer.shutdown(wait=False)

    def _write_share(self, hidden: Path, write: Callable[[Path], object]) -> None:
        share = hidden / f"rank-{self._rank:05d}"
        share.mkdir(parents=True, exist_ok=True)
        write(share)
        files = {}
        for path in sorted(share.iterdir()):
            files[path.name] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        write_text(hidden / f"rank-{self._rank:05d}.json", json.dumps(files))

    def _finish(self, save: _Save, began: float) -> None:
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

    def _wait_for_shares(self, save: _Save) -> list[Path]:
        hidden = save.hidden
        markers = [hidden / f"rank-{rank:05d}.json" for rank in range(self._world_size)]
        deadline = time.monotonic() + _COMMIT_TIMEOUT_S
        while not all(marker.exists() for marker in markers):
            if time.monotonic() > deadline:
                raise RunFailedError(
                    f"{hidden}: other workers did not finish their shares in {_COMMIT_TIMEOUT_S:.0f} s"
                )
            if self._abandoned.wait(0.02) or save.abandoned.is_set():
                raise RunFailedError(f"{hidden}: given up, because training failed before all shares were there")
        return markers

    def _commit(self, save: _Save, markers: list[Path], final: Path) -> None:
        """Gather the shares of all workers into one folder and give it its name."""
        hidden, manifest = save.hidden, save.manifest
        for rank, marker in enumerate(markers):
            for name, facts in json.loads(marker.read_text()).items():
                (hidden / f"rank-{rank:05d}" / name).rename(hidden / name)
                manifest.files[name] = facts
            (hidden / f"rank-{rank:05d}").rmdir()
            marker.unlink()
        write_text(hidden / MANIFEST, json.dumps(asdict(manifest), indent=1))
        _fsync_folder(hidden)
        if not self._may_commit():
            raise SupersededError(f"{hidden}: a newer attempt has taken this run over")
        if final.exists():
            # The same update saved again after a rewind: the new one replaces it.
            shutil.rmtree(final)
        hidden.rename(final)
        _fsync_folder(self.folder)

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
                shutil.rmtree(path, ignore_errors=True)
        snapshots = [path for path in _listed(self.folder, "snapshot") if update_of(path) <= update]
        for path in snapshots[:-_KEPT_SNAPSHOTS]:
            shutil.rmtree(path, ignore_errors=True)


def describe_problem(error: BaseException | None) -> str:
    """What a failed save is reported as."""
    if isinstance(error, OSError):
        return (
            f"saving a checkpoint failed ({error.strerror or error}); earlier ones are intact. "
            "Free space or check permissions, then run the same command to resume"
        )
    return str(error)


def name_of(manifest: CheckpointManifest) -> str:
    """Name of a state's folder."""
    return f"{_PREFIXES[manifest.kind]}{manifest.update:08d}"


def _listed(folder: Path, kind: StateKind) -> list[Path]:
    prefix = _PREFIXES[kind]
    found = (path for path in folder.glob(f"{prefix}*") if path.name.removeprefix(prefix).isdecimal())
    return sorted((path for path in found if path.is_dir()), key=update_of)


def list_checkpoints(folder: Path) -> list[Path]:
    """Committed checkpoints, oldest first; folders of other names, such as a user's copies, are left alone."""
    return _listed(folder, "checkpoint")


def list_states(folder: Path) -> list[Path]:
    """Committed checkpoints and snapshots, oldest first; of the same update, the checkpoint last."""
    return sorted([*_listed(folder, "snapshot"), *_listed(folder, "checkpoint")], key=update_of)


def remove_state(path: Path) -> None:
    """Delete a state; one that cannot be deleted stays."""
    shutil.rmtree(path, ignore_errors=True)


def is_snapshot(path: Path) -> bool:
    """Whether a state is a snapshot, by its name."""
    return path.name.startswith(_PREFIXES["snapshot"])


def update_of(path: Path) -> int:
    """Update number in the name of a checkpoint or snapshot."""
    return int(path.name.rpartition("-")[2])


def best_checkpoint(folder: Path, up_to: int | None = None) -> Path | None:
    """The checkpoint with the lowest validation loss, if any was validated.

    Args:
        folder: Where the checkpoints are.
        up_to: Later updates do not count; None counts all.
    """
    best = _best(folder, up_to)
    return best[1] if best else None


def best_loss(folder: Path, up_to: int) -> float:
    """Lowest validation loss among the checkpoints up to an update; infinite when none was validated."""
    best = _best(folder, up_to)
    return best[0] if best else math.inf


def _best(folder: Path, up_to: int | None) -> tuple[float, Path] | None:
    best: tuple[float, Path] | None = None
    for path in list_checkpoints(folder):
        if up_to is not None and update_of(path) > up_to:
            break
        try:
            validation = read_manifest(path).validation
        except CheckpointError:
            continue
        if not validation or math.isnan(validation["loss"]):
            continue
        if best is None or validation["loss"] < best[0]:
            best = (validation["loss"], path)
    return best


def newest_good(
    folder: Path,
    on_bad: Callable[[Path, CheckpointError], None],
    wanted: Callable[[CheckpointManifest], bool] = lambda manifest: True,
) -> Path | None:
    """The newest checkpoint or snapshot whose every file is as it was written.

    Args:
        folder: Where they are.
        on_bad: Told of damaged ones, which are passed over.
        wanted: Others are passed over in silence.
    """
    for path in reversed(list_states(folder)):
        try:
            if not wanted(read_manifest(path)):
                continue
            verify(path)
        except CheckpointError as error:
            on_bad(path, error)
            continue
        return path
    return None


def none_is_usable(folder: Path, damaged: int) -> str:
    """Why a run that has nothing but damaged checkpoints is not begun anew: that would wipe its metrics."""
    return (
        f"{folder}: none of its {damaged} checkpoints can be used (events.jsonl says why); restore one, or move this "
        "folder away to begin the run anew"
    )


def check_identity(found: Mapping[str, str], wanted: Mapping[str, str], where: Path) -> None:
    """Refuse to go on with another model, virtual world or dataset than the run began with.

    Raises:
        CheckpointError: Naming the parts that differ.
    """
    differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if differing:
        raise CheckpointError(
            f"{where}: this run began with another {', '.join(differing)}; going on would break its loss curve. "
            "Restore the spec (spec.yaml in the run's folder has it), or start a new run under another name"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
