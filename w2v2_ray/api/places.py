"""Places as a program names them: paths, or URIs, which stay as they are."""

from __future__ import annotations

import os
from pathlib import Path

from w2v2_ray.run.opening import is_uri


def place_of(given: str | os.PathLike[str]) -> str | Path:
    """A URI as text, anything else as a path."""
    text = os.fspath(given)
    return text if is_uri(text) else Path(text)


def absolute(given: str | os.PathLike[str]) -> str:
    """The place as a process in another folder finds it."""
    place = place_of(given)
    return place if isinstance(place, str) else str(place.resolve())
