"""Is a dataset whole? Every check names the file, what was found and what was expected."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from w2v2_ray.data.cache import ShardCache, check_file, check_size
from w2v2_ray.data.index import DatasetIndex
from w2v2_ray.data.schema import (
    INGEST_STATE_NAME,
    MANIFEST_NAME,
    SCHEMA_VERSION,
    DatasetManifest,
    FileEntry,
    fingerprint_of,
)
from w2v2_ray.errors import DatasetError
from w2v2_ray.places.storage import Location

_HASHING_THREADS = 8


def read_dataset_manifest(location: Location) -> DatasetManifest:
    """Read dataset.json.

    Raises:
        DatasetError: There is none, it is damaged, or another version wrote it.
    """
    place = location / MANIFEST_NAME
    if not place.exists():
        if (location / INGEST_STATE_NAME).exists():
            raise DatasetError(f"{location}: is not finished; run the same `w2v2-ray prepare` again to complete it")
        raise DatasetError(f"{location}: holds no dataset ({MANIFEST_NAME} is missing); make one: w2v2-ray prepare")
    try:
        content = json.loads(place.read_bytes())
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise DatasetError(
                f"{place}: has schema version {version}, this program reads {SCHEMA_VERSION}; prepare the dataset again"
            )
        manifest = DatasetManifest.model_validate(content)
    except (ValueError, ValidationError) as error:
        raise DatasetError(
            f"{place}: is damaged ({' '.join(str(error).split())}); prepare the dataset again"
        ) from error
    expected = fingerprint_of(manifest.codec, manifest.shards)
    if manifest.fingerprint != expected:
        raise DatasetError(
            f"{place}: was altered: fingerprint {manifest.fingerprint} found, {expected} expected from its shards"
        )
    return manifest


def local_file(location: Location, entry: FileEntry, cache: ShardCache) -> Path:
    """A path on this machine for a file of the dataset: its own, or the cache's copy."""
    place = location / entry.file
    return place.local_path or cache.fetch(place, entry)


def check_sizes(location: Location, manifest: DatasetManifest) -> None:
    """Compare names and sizes of all files with one listing of the folder.

    Raises:
        DatasetError: A file is missing, truncated or has grown.
    """
    sizes = {file.name: file.bytes for file in location.files()}
    for entry in (manifest.index, *manifest.shards):
        check_size(sizes.get(entry.file), entry, (location / entry.file).uri)


def check_checksums(location: Location, manifest: DatasetManifest, cache: ShardCache) -> None:
    """Read every byte and compare checksums; remote files pass through the cache, which does the same.

    Raises:
        DatasetError: A file is altered.
    """

    def check(entry: FileEntry) -> None:
        place = location / entry.file
        check_file(local_file(location, entry, cache), entry, place.uri, checksum=True)

    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        for _ in pool.map(check, (manifest.index, *manifest.shards)):
            pass


def check_index(location: Location, manifest: DatasetManifest, index: DatasetIndex) -> None:
    """Compare the index with the shard list.

    Raises:
        DatasetError: They do not belong together.
    """
    rows = np.bincount(index.shard, minlength=len(manifest.shards))
    samples = np.bincount(index.shard, weights=index.num_samples, minlength=len(manifest.shards))
    listed_rows = [shard.rows for shard in manifest.shards]
    listed_samples = [shard.samples for shard in manifest.shards]
    if rows.tolist() != listed_rows or samples.tolist() != listed_samples:
        raise DatasetError(
            f"{location / manifest.index.file}: does not belong to this dataset: {len(index)} utterances of "
            f"{int(samples.sum())} samples found, {sum(listed_rows)} of {sum(listed_samples)} expected; "
            "prepare the dataset again"
        )
