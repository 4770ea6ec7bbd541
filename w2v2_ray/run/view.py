"""What commands read of an object store: a run, a checkpoint, a model, a file, brought into this node's cache."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from w2v2_ray.errors import CheckpointError, StorageError
from w2v2_ray.places.storage import Location, locate
from w2v2_ray.run.checkpoints.files import MANIFEST
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.run.opening import is_uri, open_run
from w2v2_ray.run.remote.work_folder import work_folder


@dataclass(frozen=True)
class View:
    """A place as it is on this node.

    Attributes:
        path: Its local path.
        run: The run that it is or lies in, None for anything else.
        is_run: Whether it is the run itself.
    """

    path: Path
    run: RunFolder | None
    is_run: bool = False


def look_at(place: str | Path) -> View:
    """Find a run, one of its checkpoints, or anything else; what lies on an object store is downloaded.

    Of a run that is its logs and manifests; `RunFolder.fetch_state` brings a state.

    Raises:
        StorageError: The storage refuses, or nothing is there.
        StorageUnavailableError: It does not answer.
    """
    if not is_uri(place):
        return _local_view(Path(place))
    location = locate(str(place))
    if location.local_path is not None:
        return _local_view(location.local_path)
    if (location / "spec.yaml").exists() and (location / "checkpoints").exists():
        run = _run_view(location.uri)
        return View(run.path, run, is_run=True)
    if (location / MANIFEST).exists():
        folder, _, name = location.uri.partition("?")[0].rstrip("/").rpartition("/")
        run = _run_view(folder.rpartition("/")[0] + location.uri[len(location.uri.partition("?")[0]) :])
        return View(run.fetch_state(run.checkpoints / name), run)
    return View(_download(location), None)


def _local_view(path: Path) -> View:
    for candidate in (path, path.resolve().parents[1] if len(path.resolve().parents) > 1 else path):
        run = RunFolder(candidate)
        if run.checkpoints.is_dir() and run.spec.is_file():
            return View(path, run, is_run=candidate == path)
    return View(path, None)


def _run_view(uri: str) -> RunFolder:
    run = open_run(uri, "view")
    run.store.pull()
    return run


def look_at_run(place: str | Path) -> RunFolder:
    """A run in progress or finished.

    Raises:
        CheckpointError: There is none.
        StorageError: The storage refuses.
    """
    if not is_uri(place):
        run = RunFolder(Path(place))
        if not run.spec.is_file() and not run.events.is_file():
            raise CheckpointError(f"{place}: holds no run (no spec.yaml, no events.jsonl); name a run's folder")
        return run
    location = locate(str(place))
    if location.local_path is not None:
        return look_at_run(location.local_path)
    if not (location / "spec.yaml").exists():
        raise CheckpointError(f"{place}: holds no run (spec.yaml is missing); name a run's folder or URI")
    return _run_view(location.uri)


def local_copy(place: str | Path) -> Path:
    """A path on this node for a file or folder: its own, or a copy of what lies on an object store."""
    return look_at(place).path if is_uri(place) else Path(place)


def _download(location: Location) -> Path:
    """A file, or every file below a folder; what is here with its size and time already is not fetched again."""
    single = location.stat()
    wanted = [(single.name, location, single)] if single else [(f.name, location / f.name, f) for f in location.files()]
    if not wanted:
        raise StorageError(f"{location}: cannot read: there is no such file or folder")
    folder = work_folder(location.uri, "view")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name("view.lock")):
        for name, place, facts in wanted:
            # The name holds what tells versions apart; its own last part stays, for its suffix says what it is.
            version = hashlib.sha256(f"{facts.bytes} {facts.modified_s}".encode()).hexdigest()[:8]
            target, mark = folder / name, folder / f"{name}.{version}.seen"
            if target.is_file() and mark.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.{os.getpid()}.part")
            place.download(partial)
            partial.replace(target)
            for stale in target.parent.glob(f"{target.name}.*.seen"):
                stale.unlink(missing_ok=True)
            mark.touch()
    return folder / single.name if single else folder
