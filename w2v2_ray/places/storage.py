"""Places that hold files: a local path or any pyarrow.fs URI (`s3://`, `gs://`, `file://`, ...).

pyarrow does the work; this module adds atomic writes and messages that say what to do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from w2v2_ray.errors import StorageError, StorageUnavailableError, W2v2RayError
from w2v2_ray.places.durable import sync
from w2v2_ray.places.retry import is_denied, is_no_bucket, retrying, usual_patience_s

T = TypeVar("T")

_COPY_BYTES = 8 * 2**20


@dataclass(frozen=True)
class StoredFile:
    """A file found in a listing.

    Attributes:
        name: Its path below the listed folder.
        bytes: Its size.
        modified_s: When it was written, in seconds since 1970 by the storage's clock.
    """

    name: str
    bytes: int
    modified_s: float


@dataclass(frozen=True)
class Location:
    """A file or folder on some file system. Picklable.

    What fails on remote storage in a way that may pass is tried again; see `retry.py`.

    Args:
        filesystem: The pyarrow file system.
        path: Path within it.
        uri: What the user typed, for messages.
        patience_s: How long remote storage is tried.
    """

    filesystem: fs.FileSystem
    path: str
    uri: str
    patience_s: float = field(default_factory=usual_patience_s)

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> Location:
        base, question, query = self.uri.partition("?")
        uri = f"{base.rstrip('/')}/{name}{question}{query}"
        return replace(self, path=f"{self.path.rstrip('/')}/{name}", uri=uri)

    @property
    def local_path(self) -> Path | None:
        """The path on this machine, or None on a remote file system."""
        return Path(self.path) if isinstance(self.filesystem, fs.LocalFileSystem) else None

    def patient(self, patience_s: float) -> Location:
        """The same place, tried for another time."""
        return replace(self, patience_s=patience_s)

    def _attempt(self, verb: str, action: Callable[[], T]) -> T:
        with _clear_errors(verb, self):
            if self.local_path is not None:
                return action()
            return retrying(action, f"{self}: cannot {verb}", self.patience_s)

    def size_bytes(self) -> int | None:
        """Size of the file, or None if there is none."""
        info = self._attempt("read", lambda: self.filesystem.get_file_info(self.path))
        return info.size if info.type == fs.FileType.File else None

    def stat(self) -> StoredFile | None:
        """Name, size and time of the file, or None if there is none."""
        info = self._attempt("read", lambda: self.filesystem.get_file_info(self.path))
        if info.type != fs.FileType.File:
            return None
        return StoredFile(info.base_name, info.size, (info.mtime_ns or 0) / 1e9)

    def exists(self) -> bool:
        """Whether a file or folder is here."""
        info = self._attempt("read", lambda: self.filesystem.get_file_info(self.path))
        return bool(info.type != fs.FileType.NotFound)

    def names(self) -> list[str]:
        """Names of the folder's entries, sorted; none if there is no such folder."""
        selector = fs.FileSelector(self.path, allow_not_found=True)
        found = self._attempt("list", lambda: self.filesystem.get_file_info(selector))
        return sorted(info.base_name for info in found)

    def files(self) -> list[StoredFile]:
        """Every file below the folder, sorted by name; none if there is no such folder."""
        selector = fs.FileSelector(self.path, allow_not_found=True, recursive=True)
        found = self._attempt("list", lambda: self.filesystem.get_file_info(selector))
        start = len(self.path.rstrip("/")) + 1
        return sorted(
            (
                StoredFile(info.path[start:], info.size, (info.mtime_ns or 0) / 1e9)
                for info in found
                if info.type == fs.FileType.File
            ),
            key=lambda file: file.name,
        )

    def read_bytes(self) -> bytes:
        """The whole file.

        Raises:
            StorageError: It is missing or may not be read.
        """

        def read() -> bytes:
            with self.filesystem.open_input_file(self.path) as file:
                return bytes(file.read(file.size()))

        return self._attempt("read", read)

    def read_from(self, read: Callable[[pa.NativeFile], T]) -> T:
        """What a function reads of the file, which it may seek in; it is called again where the store fails.

        Raises:
            StorageError: It is missing or may not be read.
        """

        def attempt() -> T:
            with self.filesystem.open_input_file(self.path) as file:
                return read(file)

        return self._attempt("read", attempt)

    def download(self, target: Path) -> str:
        """Copy the file to a local path (not atomically: `target` is the caller's temporary name).

        Returns:
            Its SHA-256, in hexadecimal.
        """

        def copy() -> str:
            digest = hashlib.sha256()
            with (
                self.filesystem.open_input_stream(self.path, compression=None) as stream,
                target.open("wb") as out,
            ):
                while chunk := stream.read(_COPY_BYTES):
                    digest.update(chunk)
                    out.write(chunk)
            return digest.hexdigest()

        return self._attempt("read", copy)

    def write_bytes(self, content: bytes) -> None:
        """Write a whole file atomically.

        Raises:
            StorageError: The place cannot be written to.
        """
        local = self.local_path
        if local is not None:
            with atomic_path(local) as temporary:
                temporary.write_bytes(content)
            return

        def put() -> None:
            # A file that is closed exists. Nothing may fail in between, or half of it would.
            with self.filesystem.open_output_stream(self.path, compression=None) as out:
                out.write(content)

        self._attempt("write", put)

    def upload(self, source: Path) -> None:
        """Move a finished local file here: renamed when local, one put (visible only when whole) otherwise."""
        local = self.local_path
        if local is not None:
            with _clear_errors("write", self):
                sync(source)
                source.replace(local)
                sync(local.parent)
            return
        self.put(source)
        source.unlink()

    def put(self, source: Path) -> None:
        """Copy a local file here; on remote storage it is visible only when whole."""

        def copy() -> None:
            with source.open("rb") as stream, self.filesystem.open_output_stream(self.path, compression=None) as out:
                shutil.copyfileobj(stream, out, _COPY_BYTES)

        if self.local_path is not None:
            with atomic_path(self.local_path) as temporary:
                shutil.copyfile(source, temporary)
        else:
            self._attempt("write", copy)

    def make_folder(self) -> None:
        """Create the folder and those above it."""
        self._attempt("create", lambda: self.filesystem.create_dir(self.path, recursive=True))

    def delete(self) -> None:
        """Delete the file or folder, if there is one."""

        def delete() -> None:
            kind = self.filesystem.get_file_info(self.path).type
            with suppress(FileNotFoundError):  # another process was quicker
                if kind == fs.FileType.Directory:
                    self.filesystem.delete_dir(self.path)
                elif kind == fs.FileType.File:
                    self.filesystem.delete_file(self.path)

        self._attempt("delete", delete)


def locate(uri: str | os.PathLike[str] | Location) -> Location:
    """Find the file system of a local path or a URI.

    Raises:
        StorageError: The URI's scheme is unknown or its file system cannot be set up.
    """
    if isinstance(uri, Location):
        return uri
    text = os.fspath(uri)
    if "://" not in text:
        return Location(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text)), text)
    try:
        # May ask the store for the bucket's region.
        filesystem, path = retrying(lambda: fs.FileSystem.from_uri(text), f"{text}: cannot open", usual_patience_s())
    except StorageUnavailableError:
        raise
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if is_no_bucket(_one_line(error)):
            raise StorageError(f"{text}: there is no such bucket; create it, or correct its name") from error
        raise StorageError(
            f"{text}: cannot be opened as a storage URI ({_one_line(error)}); "
            "use a local path or a URI such as s3://bucket/folder, gs://bucket/folder or file:///folder"
        ) from error
    return Location(filesystem, path, text)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; at the end fsync it and rename it to `target`.

    If the block raises, the temporary file is removed and `target` stays as it was.

    Raises:
        StorageError: The folder cannot be written to.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with _clear_errors("write", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            temporary.replace(target)
            sync(target.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


@contextmanager
def _clear_errors(verb: str, place: Location | Path) -> Iterator[None]:
    """Turn the operating system's and pyarrow's errors into one that names the place."""
    try:
        yield
    except W2v2RayError:
        raise
    except FileNotFoundError as error:
        raise StorageError(f"{place}: cannot {verb}: there is no such file or folder") from error
    except (OSError, pa.ArrowException) as error:
        reason = _one_line(error)
        if is_no_bucket(reason):
            raise StorageError(
                f"{place}: cannot {verb}: there is no such bucket; create it, or correct its name"
            ) from error
        if isinstance(error, PermissionError) or is_denied(reason):
            raise StorageError(f"{place}: cannot {verb}: access is denied; check permissions or credentials") from error
        raise StorageError(f"{place}: cannot {verb}: {reason}") from error
