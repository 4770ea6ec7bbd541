"""Lhotse's Shar: archives of audio, with the cuts that they belong to in a list beside each.

https://lhotse.readthedocs.io/en/latest/shar.html: `recording.000000.tar` holds the audio of `cuts.000000.jsonl.gz`, a
member for each cut under the cut's id. Other fields have archives of their own, of the same ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2v2_ray.data.corpora import lhotse

_ARCHIVE = re.compile(r"recording\.(\d+)\.tar", re.IGNORECASE)


def cuts_beside(archive: Path) -> Path | None:
    """The list of an archive's cuts; None where it is none of Shar's."""
    number = _ARCHIVE.fullmatch(archive.name)
    if number is None:
        return None
    paths = (archive.with_name(f"cuts.{number[1]}{suffix}") for suffix in (".jsonl.gz", ".jsonl"))
    return next((path for path in paths if path.is_file()), None)


def supervisions_of(archive: Path) -> dict[str, list[Mapping[str, Any]]]:
    """What is said in each cut, by its id; empty where an archive is none of Shar's.

    Raises:
        DatasetError: An entry is malformed; the message gives the line.
    """
    path = cuts_beside(archive)
    return {} if path is None else dict(lhotse.supervisions_of_cuts(path))
