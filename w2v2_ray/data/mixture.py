"""Several datasets as one, each repeated a whole number of times."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from w2v2_ray.data.cache import DEFAULT_CACHE_BYTES
from w2v2_ray.data.codec import Samples
from w2v2_ray.data.dataset import Integers, SpeechDataset, Utterances, Verify
from w2v2_ray.data.index import Int32Array
from w2v2_ray.errors import DatasetError


class DatasetMixture:
    """Datasets one after the other, with the interface of one (`Utterances`).

    Args:
        parts: Pairs of a dataset and how often it counts.

    Raises:
        DatasetError: There is no part, or a repetition below 1.
    """

    def __init__(self, parts: Sequence[tuple[Utterances, int]]) -> None:
        if not parts:
            raise DatasetError("no dataset given; name at least one")
        for dataset, repeat in parts:
            if repeat < 1:
                raise DatasetError(f"{getattr(dataset, 'uri', 'dataset')}: repeat {repeat} is below 1; leave it out")
        self._parts = tuple(parts)
        self._first = [0]
        for dataset, repeat in parts:
            self._first.append(self._first[-1] + len(dataset) * repeat)
        if len(parts) == 1 and parts[0][1] == 1:
            self._num_samples = parts[0][0].num_samples  # keep the memory map
        else:
            self._num_samples = np.concatenate([np.tile(dataset.num_samples, repeat) for dataset, repeat in parts])

    @property
    def num_samples(self) -> Int32Array:
        """Length of every utterance, shape [utterances]."""
        return self._num_samples

    @property
    def fingerprint(self) -> str:
        """Identity of all parts, their order and repetitions; a single part once has its own."""
        if len(self._parts) == 1 and self._parts[0][1] == 1:
            return self._parts[0][0].fingerprint
        digest = hashlib.sha256(b"w2v2-ray mixture\n")
        for dataset, repeat in self._parts:
            digest.update(f"{repeat} {dataset.fingerprint}\n".encode())
        return digest.hexdigest()[:32]

    @property
    def hours(self) -> float:
        """Audio hours, repetitions counted."""
        return sum(dataset.hours * repeat for dataset, repeat in self._parts)

    def check_checksums(self) -> None:
        """Read every byte of the datasets and compare checksums.

        Raises:
            DatasetError: Naming the file that was altered.
        """
        for dataset in {id(part): part for part, _ in self._parts}.values():
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
        if len(self._parts) == 1 and self._parts[0][1] == 1:
            return self._parts[0][0].crops(indices, starts, num_samples)
        owners = np.searchsorted(self._first, indices, side="right") - 1
        found: dict[int, Samples] = {}
        for owner in np.unique(owners).tolist():
            dataset, _ = self._parts[owner]
            places = np.flatnonzero(owners == owner)
            inner = (indices[places] - self._first[owner]) % len(dataset)
            found.update(zip(places.tolist(), dataset.crops(inner, starts[places], num_samples[places]), strict=True))
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
        part = bisect_right(self._first, index) - 1
        dataset, _ = self._parts[part]
        repetition, inner = divmod(index - self._first[part], len(dataset))
        return dataset, inner, (part, repetition)


def open_mixture(
    parts: Sequence[tuple[str, int]],
    verify: Verify = "sizes",
    cache_dir: str | os.PathLike[str] | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
) -> DatasetMixture:
    """Open datasets as one.

    Args:
        parts: Pairs of a path or URI and how often it counts.
        verify: How much to check; see `SpeechDataset.open`.
        cache_dir: Node-local folder for remote shards.
        cache_bytes: Upper bound of that folder.

    Raises:
        DatasetError: A dataset is missing or damaged, or a repetition is below 1.
    """
    opened = {
        uri: SpeechDataset.open(uri, verify, cache_dir, cache_bytes) for uri in dict.fromkeys(u for u, _ in parts)
    }
    return DatasetMixture([(opened[uri], repeat) for uri, repeat in parts])
