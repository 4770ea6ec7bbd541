"""Datasets on a store that speaks S3: whole, missing, forbidden, flaky, away; and many processes that read at once."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
from w2v2_ray.errors import DatasetError, StorageError, StorageUnavailableError
from w2v2_ray.orchestration.ingest import prepare_dataset
from w2v2_ray.places.storage import locate

SETTINGS = IngestSettings(target_shard_bytes=200_000)


@pytest.fixture
def remote_dataset(s3: str, tiny_dataset: Path) -> str:
    """The tiny dataset, prepared straight to a bucket."""
    uri = f"{s3}/data/tones"
    prepare_dataset(tiny_dataset.parent / "source", uri, settings=SETTINGS)
    return uri


def same(dataset: SpeechDataset, other: SpeechDataset) -> bool:
    return len(dataset) == len(other) and all(
        np.array_equal(dataset.audio(index), other.audio(index)) for index in range(len(dataset))
    )


def test_files_are_put_listed_read_and_deleted(s3: str, tmp_path: Path):
    place = locate(f"{s3}/folder")
    (place / "a.txt").write_bytes(b"hello")
    (tmp_path / "big").write_bytes(b"x" * 12_000_000)
    (place / "deep" / "big").put(tmp_path / "big")
    assert [(file.name, file.bytes) for file in place.files()] == [("a.txt", 5), ("deep/big", 12_000_000)]
    assert place.names() == ["a.txt", "deep"]
    assert (place / "a.txt").read_bytes() == b"hello"
    assert (place / "deep" / "big").download(tmp_path / "back").startswith("")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()
    (place / "a.txt").delete()
    assert (place / "a.txt").stat() is None
    assert locate(f"{s3}/nothing").files() == []


def test_a_dataset_prepared_to_a_bucket_is_the_one_prepared_to_disk(
    remote_dataset: str, tiny_dataset: Path, tmp_path: Path
):
    remote = SpeechDataset.open(remote_dataset, "checksums", cache_dir=tmp_path / "cache")
    local = SpeechDataset.open(tiny_dataset)
    assert remote.fingerprint == local.fingerprint
    assert same(remote, local)


def test_a_bucket_that_is_missing_is_one_error_that_says_so(s3: str, tmp_path: Path):
    missing = f"{s3}-missing/data"
    with pytest.raises(DatasetError, match=r"-missing/data: holds no dataset"):
        SpeechDataset.open(missing)
    with pytest.raises(StorageError, match=r"-missing/data/a: cannot write: there is no such bucket"):
        (locate(missing) / "a").write_bytes(b"x")


def test_a_bucket_that_is_forbidden_is_one_error_at_once(flaky, remote_dataset: str, monkeypatch: pytest.MonkeyPatch):
    flaky.fault = lambda method, path, count: 403
    before = flaky.requests.total()
    with pytest.raises(StorageError, match=r"data/tones.*access is denied; check permissions or credentials"):
        SpeechDataset.open(remote_dataset)
    assert flaky.requests.total() - before < 5


def test_a_flaky_store_loses_nothing(flaky, remote_dataset: str, tiny_dataset: Path, tmp_path: Path):
    rng = random.Random(1)
    told = []

    def fault(method: str, path: str, count: int) -> Any:
        told.append(rng.choices([None, 500, 503, 429, "drop", "cut", 0.1], [60, 8, 8, 8, 6, 5, 5])[0])
        return told[-1]

    flaky.fault = fault
    uri = f"{remote_dataset}-again"
    prepare_dataset(tiny_dataset.parent / "source", uri, settings=SETTINGS)
    remote = SpeechDataset.open(uri, "checksums", cache_dir=tmp_path / "cache")
    assert same(remote, SpeechDataset.open(tiny_dataset))
    assert {500, 503, 429, "drop", "cut"} <= {*told}


def test_a_store_that_is_away_is_one_error_when_patience_ends(
    flaky, remote_dataset: str, monkeypatch: pytest.MonkeyPatch
):
    flaky.fault = lambda method, path, count: 503
    monkeypatch.setenv("W2V2_RAY_STORAGE_PATIENCE_S", "1")
    with pytest.raises(StorageUnavailableError, match=r"data/tones.*503.*tried \d+ times.*check the network"):
        SpeechDataset.open(remote_dataset)


def _read_all(arguments: tuple[str, str, int, int]) -> list[int]:
    uri, cache, cache_bytes, seed = arguments
    dataset = SpeechDataset.open(uri, "none", cache_dir=cache, cache_bytes=cache_bytes)
    order = list(range(len(dataset)))
    random.Random(seed).shuffle(order)
    sums = [0] * len(order)
    for index in order:
        sums[index] = int(dataset.audio(index).astype(np.int64).sum())
    return sums


def test_processes_that_fill_one_cache_at_once_read_the_same_and_download_once(
    flaky, remote_dataset: str, tiny_dataset: Path, tmp_path: Path
):
    local = SpeechDataset.open(tiny_dataset)
    expected = [int(local.audio(index).astype(np.int64).sum()) for index in range(len(local))]
    largest = max(entry.bytes for entry in local.manifest.shards)
    flaky.fault = lambda method, path, count: 0.05 if method == "GET" and "shard" in path else None
    roomy, narrow = tmp_path / "roomy", tmp_path / "narrow"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        gets = flaky.requests["GET"]
        assert pool.map(_read_all, [(remote_dataset, str(roomy), 100 * largest, seed) for seed in range(3)]) == (
            [expected] * 3
        )
        # Once a file for all three, and the manifest for each (asked for, then read).
        assert flaky.requests["GET"] - gets <= len(list(roomy.glob("*.arrow"))) + 3 * 2
        assert pool.map(_read_all, [(remote_dataset, str(narrow), 2 * largest, seed) for seed in range(3)]) == (
            [expected] * 3
        )
    assert not [*roomy.glob("*.part"), *narrow.glob("*.part")]
    # The bound holds but for a file that each process was about to add.
    assert sum(path.stat().st_size for path in narrow.glob("*.arrow")) <= (2 + 3) * largest
