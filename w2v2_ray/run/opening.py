"""A run from its path or URI."""

from __future__ import annotations

from pathlib import Path

from w2v2_ray.places.storage import Location, locate
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.run.remote.object_store import ObjectStore
from w2v2_ray.run.remote.work_folder import Role, work_folder


def is_uri(place: str | Path) -> bool:
    """Whether a place is a URI and no path."""
    return "://" in str(place)


def open_run(place: str | Path, role: Role, patience_s: float | None = None) -> RunFolder:
    """A run on a shared file system, or on an object store with a working folder on this node. Reads nothing yet.

    Args:
        place: The run's folder or URI.
        role: Who asks.
        patience_s: How long the object store is tried; None is the usual time.

    Raises:
        StorageError: The URI's scheme is unknown.
    """
    if not is_uri(place):
        return RunFolder(Path(place))
    location: Location = locate(str(place))
    if location.local_path is not None:  # file://
        return RunFolder(location.local_path)
    if patience_s is not None:
        location = location.patient(patience_s)
    work = work_folder(location.uri, role)
    return RunFolder(work, ObjectStore(location, work, role))
