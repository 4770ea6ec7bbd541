"""Reading a dataset: every utterance by its number, through memory maps."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, overload, runtime_checkable

import numpy as np
import numpy.typing as npt

from w2v2_ray.audio.samples import SAMPLE_RATE, Samples
from w2v2_ray.data.cache import DEFAULT_CACHE_BYTES, ShardCache
from w2v2_ray.data.index import DatasetIndex, Int32Array
from w2v2_ray.data.integrity import check_checksums, check_index, check_sizes, local_file, read_dataset_manifest
from w2v2_ray.data.schema import DatasetManifest
from w2v2_ray.data.shard import ShardReader
from w2v2_ray.errors import DatasetError
from w2v2_ray.places.storage import Location, locate

Verify = Literal["none", "sizes", "checksums"]
"""What opening checks: nothing, that every file is there with its size, or every byte of every file."""

Integers = npt.NDArray[np.integer]

_MAX_OPEN_SHARDS = 256  # each holds a file descriptor; a process may have about a thousand
_EVICTION_RETRIES = 5


@runtime_checkable
class Utterances(Protocol):
    """Utterances by number: one dataset, or several with repetition (`DatasetMixture`)."""

    @property
    def num_samples(self) -> Int32Array:
        """Length of every utterance, shape [utterances]."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity of content and order."""
        ...

    @property
    def hours(self) -> float:
        """Audio hours."""
        ...

    def __len__(self) -> int: ...

    def audio(self, index: int) -> Samples:
        """All samples of an utterance; read-only."""
        ...

    def crop(self, index: int, start: int, num_samples: int) -> Samples:
        """Some samples of an utterance; read-only."""
        ...

    def crops(self, indices: Integers, starts: Integers, num_samples: Integers) -> list[Samples]:
        """`crop` for many utterances at once, which a loader of short ones needs to be fast.

        Shape:
            indices, starts, num_samples [B]
        """
        ...

    def utterance_id(self, index: int) -> str:
        """Unique name."""
        ...

    def transcript(self, index: int) -> str | None:
        """What was said, where known."""
        ...

    def speaker(self, index: int) -> str | None:
        """Who said it, where known."""
        ...


@dataclass(frozen=True)
class Utterance:
    """One utterance of a dataset.

    Attributes:
        id: Unique name within the dataset.
        samples: 16 kHz mono int16 [S]; read-only, and for pcm16 a view of the file.
        transcript: What was said, where known.
        speaker: Who said it, where known.
        source: The file it came from, relative to the ingest source.
    """

    id: str
    samples: Samples
    transcript: str | None
    speaker: str | None
    source: str

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return len(self.samples) / SAMPLE_RATE


class SpeechDataset:
    """A dataset made by `w2v2-ray prepare`; open it with `SpeechDataset.open`.

    `dataset[3]` and going through it give each `Utterance` whole; the methods give one thing about one at a time.
    Shards are mapped when first read. Usable from several threads; picklable: the copy opens the files itself, and
    checks that they are still the same dataset.

    Args:
        location: The dataset's folder.
        manifest: Its dataset.json.
        index: Its index.
        cache: Where remote shards are kept on this node.
    """

    def __init__(self, location: Location, manifest: DatasetManifest, index: DatasetIndex, cache: ShardCache) -> None:
        self._location = location
        self.manifest = manifest
        self.index = index
        self._cache = cache
        self._forget_readers()

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike[str] | Location,
        verify: Verify = "sizes",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> SpeechDataset:
        """Open and check a dataset.

        Args:
            uri: Its folder: a local path or a pyarrow.fs URI.
            verify: How much to check; see `Verify`. Workers of a job may skip what the driver has checked.
            cache_dir: Node-local folder for remote shards.
            cache_bytes: Upper bound of that folder.

        Raises:
            DatasetError: It is missing, unfinished, of another version, or a file of it is missing, truncated or
                altered; the message names the file.
            StorageError: The place cannot be read.
        """
        location = locate(uri)
        cache = ShardCache(Path(cache_dir) if cache_dir is not None else None, cache_bytes)
        manifest = read_dataset_manifest(location)
        if verify != "none":
            check_sizes(location, manifest)
        if verify == "checksums":
            check_checksums(location, manifest, cache)
        dataset = cls(location, manifest, _open_index(location, manifest, cache), cache)
        if verify != "none":
            check_index(location, manifest, dataset.index)
        return dataset

    def check_checksums(self) -> None:
        """Read every byte and compare checksums.

        Raises:
            DatasetError: Naming the file that was altered.
        """
        check_checksums(self._location, self.manifest, self._cache)

    @property
    def uri(self) -> str:
        """Where it is."""
        return self._location.uri

    @property
    def location(self) -> Location:
        """Its folder."""
        return self._location

    @property
    def num_samples(self) -> Int32Array:
        """Length of every utterance, shape [utterances]; read-only."""
        return self.index.num_samples

    @property
    def fingerprint(self) -> str:
        """Identity of content and order."""
        return self.manifest.fingerprint

    @property
    def hours(self) -> float:
        """Audio hours."""
        return self.manifest.totals.samples / SAMPLE_RATE / 3600

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[Utterance]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, place: int) -> Utterance: ...
    @overload
    def __getitem__(self, place: slice) -> list[Utterance]: ...
    def __getitem__(self, place: int | slice) -> Utterance | list[Utterance]:
        """One utterance by its number, or several; audio is read when they are asked for."""
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = place + len(self) if place < 0 else place
        return Utterance(
            self.utterance_id(number),
            self.audio(number),
            self.transcript(number),
            self.speaker(number),
            self.source(number),
        )

    def audio(self, index: int) -> Samples:
        """All samples of an utterance; read-only, and for pcm16 a view of the file.

        Shape:
            returns [S]
        """
        return self.crop(index, 0, int(self.index.num_samples[index]))

    def crop(self, index: int, start: int, num_samples: int) -> Samples:
        """Samples `start` to `start + num_samples` of an utterance; for pcm16 only those are read.

        Shape:
            returns [num_samples]

        Raises:
            IndexError: The utterance is shorter than that.
        """
        reader, row = self._find(index)
        return reader.crop(row, start, num_samples)

    def crops(self, indices: Integers, starts: Integers, num_samples: Integers) -> list[Samples]:
        """`crop` for many utterances at once.

        Shape:
            indices, starts, num_samples [B]

        Raises:
            IndexError: An utterance does not exist or is shorter than that.
        """
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(self):
            raise IndexError(f"utterances {indices.min()} to {indices.max()} of a dataset of {len(self)}")
        shards = self.index.shard[indices].tolist()
        readers = {shard: self._reader(shard) for shard in set(shards)}
        wanted = zip(shards, self.index.row[indices].tolist(), starts.tolist(), num_samples.tolist(), strict=True)
        return [readers[shard].crop(row, start, count) for shard, row, start, count in wanted]

    def utterance_id(self, index: int) -> str:
        """Unique name within the dataset."""
        return self._text("id", index) or ""

    def transcript(self, index: int) -> str | None:
        """What was said, where known."""
        return self._text("transcript", index)

    def speaker(self, index: int) -> str | None:
        """Who said it, where known."""
        return self._text("speaker", index)

    def source(self, index: int) -> str:
        """The file it came from, relative to the ingest source."""
        return self._text("source", index) or ""

    def __getstate__(self) -> dict[str, Any]:
        return {"location": self._location, "cache": self._cache, "fingerprint": self.fingerprint}

    def __setstate__(self, state: dict[str, Any]) -> None:
        location, cache = state["location"], state["cache"]
        manifest = read_dataset_manifest(location)
        if manifest.fingerprint != state["fingerprint"]:
            raise DatasetError(
                f"{location}: changed while in use: fingerprint {manifest.fingerprint} found, "
                f"{state['fingerprint']} expected"
            )
        self.__init__(location, manifest, _open_index(location, manifest, cache), cache)  # type: ignore[misc]

    def _text(self, column: str, index: int) -> str | None:
        reader, row = self._find(index)
        return reader.text(column, row)

    def _find(self, index: int) -> tuple[ShardReader, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"utterance {index} of a dataset of {len(self)}")
        return self._reader(int(self.index.shard[index])), int(self.index.row[index])

    def _reader(self, shard: int) -> ShardReader:
        if self._pid != os.getpid():  # a fork while another thread held the lock would leave it locked here
            self._forget_readers()
        with self._lock:
            reader = self._readers.get(shard)
            if reader is not None:
                self._readers.move_to_end(shard)
                return reader
        # Opened outside the lock: another thread's shard must not wait for a download.
        reader = self._open_shard(shard)
        with self._lock:
            self._readers[shard] = reader
            while len(self._readers) > _MAX_OPEN_SHARDS:
                self._readers.popitem(last=False)
        return reader

    def _open_shard(self, shard: int) -> ShardReader:
        entry = self.manifest.shards[shard]
        place = self._location / entry.file
        for attempt in range(_EVICTION_RETRIES):
            path = local_file(self._location, entry, self._cache)
            try:
                return ShardReader(path, place.uri, entry.rows)
            except DatasetError:
                # Between fetching and mapping, another process may have evicted the file from the cache.
                if place.local_path is not None or path.exists() or attempt + 1 == _EVICTION_RETRIES:
                    raise
        raise AssertionError("unreachable")

    def _forget_readers(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._readers: OrderedDict[int, ShardReader] = OrderedDict()


def _open_index(location: Location, manifest: DatasetManifest, cache: ShardCache) -> DatasetIndex:
    return DatasetIndex.open(local_file(location, manifest.index, cache), (location / manifest.index.file).uri)
