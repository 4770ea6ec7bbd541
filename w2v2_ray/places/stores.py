"""Single files by their URI, many of one store: its file system is opened once."""

from __future__ import annotations

from functools import lru_cache

from w2v2_ray.places.storage import Location, locate

STORE_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file")
"""Of URIs that pyarrow opens."""


def is_uri(path: str) -> bool:
    """Whether a path names a file in a store."""
    return "://" in path


def file_at(uri: str) -> Location:
    """The place of a file.

    Raises:
        StorageError: The URI's scheme is unknown or its file system cannot be set up.
    """
    base, query = _parted(uri)
    scheme, _, rest = base.partition("://")
    store, _, name = rest.partition("/")
    return _store(f"{scheme}://{store}", query) / name


def plain_name(uri: str) -> str:
    """The path within the store, for names: neither scheme nor bucket nor query."""
    return _parted(uri)[0].partition("://")[2].partition("/")[2]


def _parted(uri: str) -> tuple[str, str]:
    base, question, query = uri.partition("?")
    return base, f"{question}{query}"


@lru_cache(maxsize=16)
def _store(base: str, query: str) -> Location:
    found = locate(f"{base}/{query}")
    return Location(found.filesystem, found.path, found.uri, found.patience_s)
