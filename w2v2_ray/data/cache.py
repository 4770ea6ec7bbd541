"""A bounded folder on this node that holds shards read from an object store."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from w2v2_ray.data.schema import FileEntry
from w2v2_ray.errors import DatasetError
from w2v2_ray.places.checksums import sha256_of
from w2v2_ray.places.storage import Location

DEFAULT_CACHE_BYTES = 50 * 2**30
_DATA_SUFFIX = ".arrow"


def default_cache_dir() -> Path:
    """A folder of this user under the system's temporary one."""
    return Path(tempfile.gettempdir()) / f"w2v2-ray-cache-{os.getuid()}"


class ShardCache:
    """Files of remote datasets, named by their checksums; the least recently used go first.

    Several processes may share the folder: one downloads a file while the others wait for it. A file that is removed
    while some process has it mapped stays readable there. Picklable.

    Args:
        directory: Folder, created when needed; null means one under the system's temporary folder.
        max_bytes: Upper bound of what is kept. A single larger file is still fetched.
    """

    def __init__(self, directory: Path | str | None = None, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.directory = Path(directory) if directory is not None else default_cache_dir()
        self.max_bytes = max_bytes

    def fetch(self, remote: Location, entry: FileEntry) -> Path:
        """The local path of a file, downloaded and verified if it is not here yet.

        Args:
            remote: Where it is.
            entry: Size and checksum it must have.

        Raises:
            DatasetError: The remote file is missing, truncated or altered.
        """
        cached = self.directory / f"{entry.sha256}{_DATA_SUFFIX}"
        if self._touch(cached, entry.bytes):
            return cached
        self.directory.mkdir(parents=True, exist_ok=True)
        with FileLock(self.directory / f"{entry.sha256}.lock"):
            if self._touch(cached, entry.bytes):
                return cached
            self._make_room(entry.bytes)
            partial = cached.with_suffix(f".{os.getpid()}.part")
            try:
                remote.download(partial)
                check_file(partial, entry, remote.uri, checksum=True)
                partial.replace(cached)
            finally:
                partial.unlink(missing_ok=True)
        return cached

    @staticmethod
    def _touch(cached: Path, num_bytes: int) -> bool:
        """Mark a file as used now; False if it is not here whole."""
        try:
            os.utime(cached)
            # After a power cut a renamed file may have lost its end.
            return cached.stat().st_size == num_bytes
        except FileNotFoundError:
            return False

    def _make_room(self, wanted_bytes: int) -> None:
        """Remove the least recently used files until `wanted_bytes` fit."""
        with FileLock(self.directory / "evict.lock"):
            files = []
            for path in self.directory.glob(f"*{_DATA_SUFFIX}"):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    files.append((status.st_mtime_ns, status.st_size, path))
            used_bytes = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if used_bytes + wanted_bytes <= self.max_bytes:
                    break
                path.unlink(missing_ok=True)
                used_bytes -= size


def check_file(path: Path, entry: FileEntry, name: str, *, checksum: bool) -> None:
    """Compare a local file with its entry in dataset.json.

    Args:
        path: The file.
        entry: What it must be.
        name: What to call it in messages.
        checksum: Read it all and compare the checksum too.

    Raises:
        DatasetError: It is missing, or its size or checksum is another one.
    """
    check_size(path.stat().st_size if path.exists() else None, entry, name)
    if checksum and (found := sha256_of(path)) != entry.sha256:
        raise DatasetError(
            f"{name}: is altered: sha256 {found} found, {entry.sha256} expected; "
            "copy it again or prepare the dataset again"
        )


def check_size(found_bytes: int | None, entry: FileEntry, name: str) -> None:
    """Compare a file's size, None if it is missing, with its entry in dataset.json.

    Raises:
        DatasetError: It is missing or has another size.
    """
    if found_bytes is None:
        raise DatasetError(f"{name}: is missing; dataset.json lists it with {entry.bytes} bytes")
    if found_bytes != entry.bytes:
        kind = "truncated" if found_bytes < entry.bytes else "altered"
        raise DatasetError(
            f"{name}: is {kind}: {found_bytes} bytes found, {entry.bytes} expected; "
            "copy it again or prepare the dataset again"
        )
