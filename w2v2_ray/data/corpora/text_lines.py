"""Lines of a text file that a corpus brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from w2v2_ray.errors import DatasetError


def numbered_lines(path: Path, *, keep_blank: bool = False) -> Iterator[tuple[int, str]]:
    """Lines of a text file with their numbers, without a byte-order mark.

    Raises:
        DatasetError: It cannot be read or is not UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
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
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
