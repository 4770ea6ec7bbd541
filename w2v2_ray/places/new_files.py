"""Writing results whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from w2v2_ray.errors import StorageError
from w2v2_ray.places.durable import sync


@contextmanager
def new_folder(path: Path, *, replaces: tuple[str, ...]) -> Iterator[Path]:
    """Hand out an empty folder that takes the name `path` once its files are written and synced.

    Args:
        path: Where the result is to be. An existing folder is replaced only if it looks like one of the same kind.
        replaces: Files by any of which a folder that may be replaced is known.

    Raises:
        StorageError: When something else is there, or it cannot be written.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not any((path / n).exists() for n in replaces)):
        raise StorageError(f"{path}: exists and holds something else; give another --out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        yield temporary
        for file in temporary.iterdir():
            sync(file)
        temporary.chmod(0o755)  # mkdtemp's is for its owner alone
        sync(temporary)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
        sync(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: writing failed ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Hand out a name beside `path` for a file that takes its place once written and synced.

    Raises:
        StorageError: When it cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        if path.is_dir():
            raise StorageError(f"{path}: is a folder; give the name of a file to write")
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: writing failed ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
