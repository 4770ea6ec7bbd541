"""Several datasets as one, each as often as its repetitions, or its share of the seconds, say."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from w2v2_ray.audio.samples import SAMPLE_RATE, Samples
from w2v2_ray.data.cache import DEFAULT_CACHE_BYTES
from w2v2_ray.data.dataset import Integers, SpeechDataset, Utterances, Verify
from w2v2_ray.data.index import Int32Array
from w2v2_ray.errors import DatasetError


@dataclass(frozen=True)
class _Part:
    """A dataset and how often it counts: `whole` times, and then the utterances `extra` once more."""

    dataset: Utterances
    whole: int
    extra: Int32Array

    @property
    def is_plain(self) -> bool:
        return self.whole == 1 and not len(self.extra)

    @property
    def count(self) -> int:
        return len(self.dataset) * self.whole + len(self.extra)

    @property
    def num_samples(self) -> Int32Array:
        lengths = self.dataset.num_samples
        return np.concatenate([np.tile(lengths, self.whole), lengths[self.extra]])

    @property
    def identity(self) -> str:
        if not len(self.extra):
            return f"{self.whole} {self.dataset.fingerprint}"
        return f"{self.whole} and {hashlib.sha256(self.extra.tobytes()).hexdigest()} {self.dataset.fingerprint}"

    def inner(self, places: Integers) -> Integers:
        """Numbers within the dataset of places within the part. Shape: [B]."""
        found = places % len(self.dataset)
        behind = places - self.whole * len(self.dataset)
        if len(self.extra):
            found = np.where(behind >= 0, self.extra[np.maximum(behind, 0)], found)
        return found


@dataclass(frozen=True)
class MixtureShare:
    """What a dataset is of an epoch."""

    dataset: str
    """As the job names it."""
    share: float
    """Of the seconds."""
    times: float
    """How often it is heard, by its seconds."""

    def __str__(self) -> str:
        return f"{self.dataset}: {self.share:.1%} ({self.times:.2f} times)"


class DatasetMixture:
    """Datasets one after the other, with the interface of one (`Utterances`).

    A dataset that counts 2.3 times is there twice, and then a fixed choice of its utterances that makes up 0.3 of its
    seconds: every epoch has the same utterances, so that the batch plan is exact.

    Args:
        parts: Pairs of a dataset and how often it counts.

    Raises:
        DatasetError: There is no part, or a repetition below 1.
    """

    def __init__(self, parts: Sequence[tuple[Utterances, float]]) -> None:
        if not parts:
            raise DatasetError("no dataset given; name at least one")
        for dataset, repeat in parts:
            if repeat < 1:
                raise DatasetError(f"{getattr(dataset, 'uri', 'dataset')}: repeat {repeat} is below 1; leave it out")
        self._parts = tuple(
            _Part(dataset, int(times), _chosen(dataset, times - int(times))) for dataset, times in parts
        )
        self._first = [0]
        for part in self._parts:
            self._first.append(self._first[-1] + part.count)
        if self._alone is not None:
            self._num_samples = self._alone.num_samples  # keep the memory map
        else:
            self._num_samples = np.concatenate([part.num_samples for part in self._parts])

    @property
    def _alone(self) -> Utterances | None:
        """The only dataset, where it counts once."""
        return self._parts[0].dataset if len(self._parts) == 1 and self._parts[0].is_plain else None

    @property
    def num_samples(self) -> Int32Array:
        """Length of every utterance, shape [utterances]."""
        return self._num_samples

    @property
    def fingerprint(self) -> str:
        """Identity of all parts, their order and repetitions; a single part once has its own."""
        if self._alone is not None:
            return self._alone.fingerprint
        digest = hashlib.sha256(b"w2v2-ray mixture\n")
        for part in self._parts:
            digest.update(f"{part.identity}\n".encode())
        return digest.hexdigest()[:32]

    @property
    def hours(self) -> float:
        """Audio hours, repetitions counted."""
        return float(self._num_samples.sum(dtype=np.int64)) / SAMPLE_RATE / 3600

    @property
    def shares(self) -> tuple[MixtureShare, ...]:
        """What each dataset is of an epoch, in their order."""
        seconds = [int(part.num_samples.sum(dtype=np.int64)) for part in self._parts]
        once = [int(part.dataset.num_samples.sum(dtype=np.int64)) for part in self._parts]
        return tuple(
            MixtureShare(getattr(part.dataset, "uri", "dataset"), heard / sum(seconds), heard / whole)
            for part, heard, whole in zip(self._parts, seconds, once, strict=True)
        )

    def check_checksums(self) -> None:
        """Read every byte of the datasets and compare checksums.

        Raises:
            DatasetError: Naming the file that was altered.
        """
        for dataset in {id(part.dataset): part.dataset for part in self._parts}.values():
            if isinstance(dataset, SpeechDataset):
                dataset.check_checksums()

    def __len__(self) -> int:
        return self._first[-1]

    def audio(self, index: int) -> Samples:
        """All samples of an utterance; read-only."""
        dataset, inner, _ = self._find(index)
        return dataset.audio(inner)

    def crop(self, index: int, start: int, num_samples: int) -> Samples:
        """Some samples of an utterance; read-only."""
        dataset, inner, _ = self._find(index)
        return dataset.crop(inner, start, num_samples)

    def crops(self, indices: Integers, starts: Integers, num_samples: Integers) -> list[Samples]:
        """`crop` for many utterances at once.

        Shape:
            indices, starts, num_samples [B]
        """
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(self):
            raise IndexError(f"utterances {indices.min()} to {indices.max()} of a mixture of {len(self)}")
        if self._alone is not None:
            return self._alone.crops(indices, starts, num_samples)
        owners = np.searchsorted(self._first, indices, side="right") - 1
        found: dict[int, Samples] = {}
        for owner in np.unique(owners).tolist():
            part = self._parts[owner]
            places = np.flatnonzero(owners == owner)
            inner = part.inner(indices[places] - self._first[owner])
            sounds = part.dataset.crops(inner, starts[places], num_samples[places])
            found.update(zip(places.tolist(), sounds, strict=True))
        return [found[place] for place in range(len(indices))]

    def utterance_id(self, index: int) -> str:
        """Unique name.

        It is the dataset's own, led by the part's number if there are several, followed by `+n` in its n-th
        repetition.
        """
        dataset, inner, tag = self._find(index)
        part, repetition = tag
        lead = f"{part}:" if len(self._parts) > 1 else ""
        tail = f"+{repetition}" if repetition else ""
        return f"{lead}{dataset.utterance_id(inner)}{tail}"

    def transcript(self, index: int) -> str | None:
        """What was said, where known."""
        dataset, inner, _ = self._find(index)
        return dataset.transcript(inner)

    def speaker(self, index: int) -> str | None:
        """Who said it, where known."""
        dataset, inner, _ = self._find(index)
        return dataset.speaker(inner)

    def _find(self, index: int) -> tuple[Utterances, int, tuple[int, int]]:
        """The dataset, the number within it, and (part, repetition)."""
        if not 0 <= index < len(self):
            raise IndexError(f"utterance {index} of a mixture of {len(self)}")
        number = bisect_right(self._first, index) - 1
        part, place = self._parts[number], index - self._first[number]
        return part.dataset, int(part.inner(np.array([place]))[0]), (number, place // len(part.dataset))


def open_mixture(
    parts: Sequence[tuple[str, int]],
    verify: Verify = "sizes",
    cache_dir: str | os.PathLike[str] | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    shares: Sequence[float] | None = None,
    sampling_alpha: float | None = None,
) -> DatasetMixture:
    """Open datasets as one.

    Args:
        parts: Pairs of a path or URI and how often it counts.
        verify: How much to check; see `SpeechDataset.open`.
        cache_dir: Node-local folder for remote shards.
        cache_bytes: Upper bound of that folder.
        shares: Of the seconds of an epoch, by part; None takes the repetitions.
        sampling_alpha: Make shares of the parts' seconds to this power; None takes `shares`.

    Raises:
        DatasetError: A dataset is missing or damaged, or a repetition is below 1.
    """
    opened = {
        uri: SpeechDataset.open(uri, verify, cache_dir, cache_bytes) for uri in dict.fromkeys(u for u, _ in parts)
    }
    datasets = [opened[uri] for uri, _ in parts]
    if sampling_alpha is not None:
        shares = [dataset.hours**sampling_alpha for dataset in datasets]
    if shares is not None:
        return DatasetMixture(list(zip(datasets, times_for(datasets, shares), strict=True)))
    return DatasetMixture([(opened[uri], repeat) for uri, repeat in parts])


def times_for(datasets: Sequence[Utterances], shares: Sequence[float]) -> list[float]:
    """How often each dataset counts in an epoch of which its seconds make up its share.

    None is left out in part: the one that would be heard least is heard once, and sets the length of the epoch.
    """
    wanted = [share / dataset.hours for dataset, share in zip(datasets, shares, strict=True)]
    return [times / min(wanted) for times in wanted]


def _chosen(dataset: Utterances, fraction: float) -> Int32Array:
    """Utterances that make up a fraction of a dataset's seconds; the same wherever they are chosen. Shape: [chosen]."""
    if not fraction:
        return np.zeros(0, np.int32)
    seed = int.from_bytes(hashlib.sha256(dataset.fingerprint.encode()).digest()[:8], "little")
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(dataset)).astype(np.int32)
    ends = np.cumsum(dataset.num_samples[order], dtype=np.int64)
    count = int(np.searchsorted(ends, fraction * int(ends[-1]), side="right"))
    return np.sort(order[:count])
