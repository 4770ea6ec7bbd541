"""Lines of a text file that a corpus brings."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from w2v2_ray.errors import DatasetError


def numbered_lines(path: Path, *, keep_blank: bool = False) -> Iterator[tuple[int, str]]:
    """Lines of a text file with their numbers, without a byte-order mark.

    Raises:
        DatasetError: It cannot be read or is not UTF-8 text.
    """
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                line = line.rstrip("\r\n")
                if "\0" in line:
                    raise DatasetError(
                        f"{path}:{number}: holds zero bytes, which no text does; convert it from UTF-16?"
                    )
                if keep_blank or line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except (OSError, EOFError, zlib.error) as error:  # the last two, and a kind of the first, are gzip's
        raise DatasetError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def open_text(path: Path) -> IO[str]:
    """Open UTF-8 text, with or without a byte-order mark, compressed by gzip where its name says so."""
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    file: IO[str] = opened(path, "rt", encoding="utf-8-sig", newline="")
    return file
