from __future__ import annotations

import hashlib
import multiprocessing
import os
from pathlib import Path

import pytest
from pyarrow import fs

from w2v2_ray.data.cache import ShardCache
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.schema import FileEntry
from w2v2_ray.errors import DatasetError, StorageError
from w2v2_ray.places.storage import Location


def remote_file(root: Path, name: str, content: bytes) -> tuple[Location, FileEntry]:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(content)
    store = Location(fs.SubTreeFileSystem(str(root), fs.LocalFileSystem()), name, f"store://{name}")
    return store, FileEntry(file=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def fetch_all(cache: ShardCache, files: list[tuple[Location, FileEntry]]) -> list[bytes]:
    return [cache.fetch(*file).read_bytes() for file in files]


def test_a_file_is_fetched_once(tmp_path):
    place, entry = remote_file(tmp_path / "store", "a", b"content")
    cache = ShardCache(tmp_path / "cache")
    assert cache.fetch(place, entry).read_bytes() == b"content"
    (tmp_path / "store" / "a").unlink()
    assert cache.fetch(place, entry).read_bytes() == b"content"


def test_the_least_recently_used_file_goes_first(tmp_path):
    files = [remote_file(tmp_path / "store", name, name.encode() * 100) for name in "abc"]
    cache = ShardCache(tmp_path / "cache", max_bytes=250)
    first, second = (cache.fetch(*file) for file in files[:2])
    os.utime(first, ns=(1, 1))
    os.utime(second, ns=(2, 2))
    cache.fetch(*files[0])  # now the second is the oldest
    third = cache.fetch(*files[2])
    assert first.exists()
    assert not second.exists()
    assert third.exists()


def test_a_file_larger_than_the_bound_is_still_fetched(tmp_path):
    place, entry = remote_file(tmp_path / "store", "a", bytes(1000))
    assert ShardCache(tmp_path / "cache", max_bytes=10).fetch(place, entry).stat().st_size == 1000


@pytest.mark.parametrize(("content", "message"), [(b"conten", "is truncated: 6 bytes"), (b"CONTENT", "sha256")])
def test_a_damaged_remote_file_is_named_and_not_kept(tmp_path, content, message):
    place, entry = remote_file(tmp_path / "store", "a", b"content")
    (tmp_path / "store" / "a").write_bytes(content)
    with pytest.raises(DatasetError, match=f"store://a: .*{message}"):
        ShardCache(tmp_path / "cache").fetch(place, entry)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_a_missing_remote_file_is_named(tmp_path):
    place, entry = remote_file(tmp_path / "store", "a", b"content")
    (tmp_path / "store" / "a").unlink()
    with pytest.raises(StorageError, match="store://a: cannot read: there is no such file"):
        ShardCache(tmp_path / "cache").fetch(place, entry)


def test_a_cached_file_that_lost_its_end_is_fetched_again(tmp_path):
    place, entry = remote_file(tmp_path / "store", "a", b"content")
    cache = ShardCache(tmp_path / "cache")
    cache.fetch(place, entry).write_bytes(b"con")
    assert cache.fetch(place, entry).read_bytes() == b"content"


def test_several_processes_may_fill_one_cache_at_once(tmp_path):
    files = [remote_file(tmp_path / "store", f"f{n}", os.urandom(200_000)) for n in range(6)]
    cache = ShardCache(tmp_path / "cache", max_bytes=2_000_000)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.starmap(fetch_all, [(cache, files)] * 3)
    expected = [(tmp_path / "store" / f"f{n}").read_bytes() for n in range(6)]
    assert results == [expected] * 3
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_remote_dataset_is_read_through_a_cache_that_holds_only_part_of_it(tmp_path, make_dataset):
    local = make_dataset()
    filesystem = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    bound = max(shard.bytes for shard in local.manifest.shards) + local.manifest.index.bytes
    remote = SpeechDataset.open(
        Location(filesystem, "dataset", "store://dataset"), cache_dir=tmp_path / "cache", cache_bytes=bound
    )
    for index in [*range(10), *range(9, -1, -1)]:
        assert remote.audio(index).tobytes() == local.audio(index).tobytes()
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.arrow")) <= bound


def test_a_truncated_remote_shard_is_reported_on_opening(tmp_path, make_dataset):
    make_dataset()
    shard = tmp_path / "dataset" / "shard-00001.arrow"
    shard.write_bytes(shard.read_bytes()[:-1])
    filesystem = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    with pytest.raises(DatasetError, match=r"store://dataset/shard-00001\.arrow: is truncated"):
        SpeechDataset.open(Location(filesystem, "dataset", "store://dataset"), cache_dir=tmp_path / "cache")
