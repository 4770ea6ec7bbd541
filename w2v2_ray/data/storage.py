"""Places that hold files: a local path or any pyarrow.fs URI (`s3://`, `gs://`, `file://`, ...).

pyarrow does the work; this module adds atomic writes and messages that say what to do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from w2v2_ray.durable import sync
from w2v2_ray.errors import StorageError

_COPY_BYTES = 8 * 2**20
_FORBIDDEN = ("access_denied", "access denied", "forbidden", "permission denied", "http status 403")


@dataclass(frozen=True)
class Location:
    """A file or folder on some file system. Picklable.

    Args:
        filesystem: The pyarrow file system.
        path: Path within it.
        uri: What the user typed, for messages.
    """

    filesystem: fs.FileSystem
    path: str
    uri: str

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> Location:
        base, question, query = self.uri.partition("?")
        uri = f"{base.rstrip('/')}/{name}{question}{query}"
        return Location(self.filesystem, f"{self.path.rstrip('/')}/{name}", uri)

    @property
    def local_path(self) -> Path | None:
        """The path on this machine, or None on a remote file system."""
        return Path(self.path) if isinstance(self.filesystem, fs.LocalFileSystem) else None

    def size_bytes(self) -> int | None:
        """Size of the file, or None if there is none."""
        with _clear_errors("read", self):
            info = self.filesystem.get_file_info(self.path)
        return info.size if info.type == fs.FileType.File else None

    def exists(self) -> bool:
        """Whether a file or folder is here."""
        with _clear_errors("read", self):
            return bool(self.filesystem.get_file_info(self.path).type != fs.FileType.NotFound)

    def names(self) -> list[str]:
        """Names of the folder's entries, sorted; none if there is no such folder."""
        with _clear_errors("list", self):
            selector = fs.FileSelector(self.path, allow_not_found=True)
            return sorted(info.base_name for info in self.filesystem.get_file_info(selector))

    def read_bytes(self) -> bytes:
        """The whole file.

        Raises:
            StorageError: It is missing or may not be read.
        """
        with _clear_errors("read", self), self.filesystem.open_input_stream(self.path, compression=None) as stream:
            return bytes(stream.read())

    def download(self, target: Path) -> None:
        """Copy the file to a local path (not atomically: `target` is the caller's temporary name)."""
        with (
            _clear_errors("read", self),
            self.filesystem.open_input_stream(self.path, compression=None) as stream,
            target.open("wb") as out,
        ):
            shutil.copyfileobj(stream, out, _COPY_BYTES)

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
        with _clear_errors("write", self), self.filesystem.open_output_stream(self.path, compression=None) as out:
            out.write(content)

    def upload(self, source: Path) -> None:
        """Move a finished local file here: renamed when local, one put (visible only when whole) otherwise."""
        local = self.local_path
        with _clear_errors("write", self):
            if local is not None:
                sync(source)
                source.replace(local)
                sync(local.parent)
                return
            with source.open("rb") as stream, self.filesystem.open_output_stream(self.path, compression=None) as out:
                shutil.copyfileobj(stream, out, _COPY_BYTES)
        source.unlink()

    def make_folder(self) -> None:
        """Create the folder and those above it."""
        with _clear_errors("create", self):
            self.filesystem.create_dir(self.path, recursive=True)

    def delete(self) -> None:
        """Delete the file or folder, if there is one."""
        with _clear_errors("delete", self):
            kind = self.filesystem.get_file_info(self.path).type
            if kind == fs.FileType.Directory:
                self.filesystem.delete_dir(self.path)
            elif kind == fs.FileType.File:
                self.filesystem.delete_file(self.path)


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
        filesystem, path = fs.FileSystem.from_uri(text)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
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
    except FileNotFoundError as error:
        raise StorageError(f"{place}: cannot {verb}: there is no such file or folder") from error
    except (OSError, pa.ArrowException) as error:
        reason = _one_line(error)
        if isinstance(error, PermissionError) or any(word in reason.lower() for word in _FORBIDDEN):
            raise StorageError(f"{place}: cannot {verb}: access is denied; check permissions or credentials") from error
        raise StorageError(f"{place}: cannot {verb}: {reason}") from error
