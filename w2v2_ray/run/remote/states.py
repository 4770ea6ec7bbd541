"""Training states of a run on an object store.

`checkpoints/update-00001000/checkpoint.json` is put last and makes the state exist: a store cannot rename, but a put
of one object is all or nothing. The files it lists lie in a folder beside it that is named after the attempt and the
save, so that what another attempt left there, or still writes, never mixes with them.

The working folder on this node mirrors the manifests. Files of a state are here only while it is written or loaded.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from w2v2_ray.errors import CheckpointError, StorageError, StorageUnavailableError
from w2v2_ray.places.durable import write_text
from w2v2_ray.places.storage import Location, StoredFile
from w2v2_ray.run.checkpoints.files import (
    MANIFEST,
    CheckpointManifest,
    every_file,
    manifest_text,
    read_manifest,
    update_of,
)

_DOWNLOADS = 4


class RemoteStates:
    """The states of one run.

    Args:
        location: `<run>/checkpoints` on the store.
        work: `checkpoints` in the run's working folder on this node.
        keep_s: States that were fetched later than that make no room for others; another command may read them.
    """

    def __init__(self, location: Location, work: Path, keep_s: float = 0.0) -> None:
        self.location = location
        self._work = work
        self._keep_s = keep_s

    def names(self) -> list[str]:
        """Committed states, oldest first, by one listing."""
        return sorted(self._objects(), key=lambda name: (update_of(Path(name)), name))

    def _objects(self) -> dict[str, dict[str, StoredFile]]:
        """Objects of each committed state, by name relative to the state."""
        found: dict[str, dict[str, StoredFile]] = {}
        for file in self.location.files():
            state, _, name = file.name.partition("/")
            found.setdefault(state, {})[name] = file
        return {
            state: files
            for state, files in found.items()
            if MANIFEST in files and state.rpartition("-")[2].isdecimal()  # not a user's copy of another name
        }

    def pull(self) -> None:
        """Make the working folder hold the manifests of the store's states, and of no others.

        Raises:
            StorageError: The storage refuses.
            StorageUnavailableError: It does not answer.
        """
        names = self.names()
        self._work.mkdir(parents=True, exist_ok=True)
        for path in self._work.iterdir():
            if path.is_dir() and not path.name.startswith(".") and path.name not in names:
                shutil.rmtree(path, ignore_errors=True)
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            list(pool.map(self._pull_manifest, names))

    def _pull_manifest(self, name: str) -> None:
        try:
            content = (self.location / name / MANIFEST).read_bytes()
        except StorageUnavailableError:
            raise
        except StorageError:
            if (self.location / name / MANIFEST).exists():
                raise
            return  # deleted since it was listed
        folder = self._work / name
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / MANIFEST, content.decode(errors="replace"))

    def commit(self, manifest: CheckpointManifest, name: str) -> Path:
        """Make a state exist whose files are all on the store.

        Returns:
            Its folder here, which holds the manifest alone.
        """
        text = manifest_text(manifest)
        (self.location / name / MANIFEST).write_bytes(text.encode())
        folder = self._work / name
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / MANIFEST, text)
        return folder

    def check(self, path: Path) -> CheckpointManifest:
        """See that all files of a state are on the store with their sizes.

        Raises:
            CheckpointError: Naming the first that is not.
        """
        manifest = read_manifest(path)
        place = self.location / path.name
        sizes = {file.name: file.bytes for file in place.files()}
        for file, facts in manifest.files.items():
            size = sizes.get(f"{manifest.folder}/{file}")
            if size != facts["bytes"]:
                found = "missing" if size is None else f"{size} bytes, expected {facts['bytes']}"
                raise CheckpointError(f"{place / manifest.folder / file}: {found}; use an earlier checkpoint")
        return manifest

    def fetch(self, path: Path, needed: Callable[[str], bool] = every_file) -> Path:
        """Bring a state's files into the working folder; those of other states make room.

        Several workers of a node may ask at once: one downloads.

        Args:
            path: Its folder here, whether it is here already or not.
            needed: Other files, by name, are left there.

        Raises:
            CheckpointError: A file is missing, truncated or altered.
            StorageUnavailableError: The storage does not answer.
        """
        self._work.mkdir(parents=True, exist_ok=True)
        with FileLock(self._work.parent / "fetch.lock"):
            self._pull_manifest(path.name)
            manifest = read_manifest(path)
            files = {file: facts for file, facts in manifest.files.items() if needed(file)}
            missing = [file for file, facts in files.items() if _size(path / file) != facts["bytes"]]
            if missing:
                self._make_room(path)
                with ThreadPoolExecutor(_DOWNLOADS) as pool:
                    list(pool.map(lambda file: self._download(path, manifest, file), missing))
        return path

    def _make_room(self, wanted: Path) -> None:
        for folder in self._work.iterdir():
            if folder.is_dir() and folder != wanted and not folder.name.startswith("."):
                for file in folder.iterdir():
                    if file.name != MANIFEST and time.time() - file.stat().st_mtime > self._keep_s:
                        file.unlink(missing_ok=True)

    def _download(self, path: Path, manifest: CheckpointManifest, file: str) -> None:
        place = self.location / path.name / manifest.folder / file
        facts = manifest.files[file]
        partial = path / f".{file}.{os.getpid()}.part"
        try:
            try:
                found = place.download(partial)
            except StorageUnavailableError:
                raise
            except StorageError as error:
                raise CheckpointError(f"{error.message}; use an earlier checkpoint") from error
            if _size(partial) != facts["bytes"] or found != facts["sha256"]:
                raise CheckpointError(f"{place}: its checksum differs, the file was altered; use an earlier checkpoint")
            partial.replace(path / file)
        finally:
            partial.unlink(missing_ok=True)

    def remove(self, path: Path) -> None:
        """Delete a state. Its manifest goes first: from then on it does not exist."""
        place = self.location / path.name
        (place / MANIFEST).delete()
        self._delete(place, (file.name for file in place.files()))
        shutil.rmtree(path, ignore_errors=True)

    def sweep(self, keep_attempt: str) -> None:
        """Delete what attempts other than this one left without a manifest, or beside one that is not theirs."""
        committed = self._objects()
        for file in self.location.files():
            state, _, name = file.name.partition("/")
            folder = name.partition("/")[0]
            if name == MANIFEST or folder.startswith(f"{keep_attempt}-"):
                continue
            if state in committed and self._folder_of(state) in (folder, None):
                continue
            (self.location / state / name).delete()

    def _folder_of(self, state: str) -> str | None:
        """Where a committed state's files are; None where that cannot be told, so that nothing of it is deleted."""
        try:
            return read_manifest(self._work / state).folder or None
        except CheckpointError:
            return None

    def forget_share(self, name: str, folder: str, rank: int) -> None:
        """Delete what a worker put of a state that was given up."""
        place = self.location / name / folder
        mine = (f"rank-{rank:05d}.json", *(f"{part}-{rank:05d}.safetensors" for part in ("state", "moments")))
        self._delete(place, mine if rank else (*mine, "state.json", "task.safetensors"))

    @staticmethod
    def _delete(place: Location, names: Iterable[str]) -> None:
        for name in names:
            (place / name).delete()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
