"""Noise in the shape of a dataset: for measuring speed and memory, where what is heard does not matter."""

from __future__ import annotations

import hashlib

import numpy as np

from w2v2_ray.audio.samples import SAMPLE_RATE, Samples
from w2v2_ray.data.dataset import Integers
from w2v2_ray.data.index import Int32Array

_POOL_SAMPLES = 1 << 20
"""Samples of the one recording of which every utterance is a piece: made once, so that reading costs nothing."""
_PRIME = 104_729
_LOUDNESS = 4_000


class NoiseUtterances:
    """Utterances of white noise, with the interface of a dataset (`Utterances`).

    Args:
        count: How many.
        shortest_samples: Length of the shortest.
        longest_samples: Length of the longest; lengths are spread evenly between.
        seed: Draws the noise.
    """

    def __init__(self, count: int, shortest_samples: int, longest_samples: int, seed: int) -> None:
        self._lengths = np.linspace(shortest_samples, longest_samples, count).round().astype(np.int32)
        self._identity = f"noise {count} {shortest_samples} {longest_samples} {seed}"
        rng = np.random.default_rng(seed)
        wanted = max(_POOL_SAMPLES, longest_samples + _PRIME)
        self._pool: Samples = rng.integers(-_LOUDNESS, _LOUDNESS, wanted, dtype=np.int16)
        self._pool.flags.writeable = False

    @property
    def num_samples(self) -> Int32Array:
        """Length of every utterance, shape [utterances]."""
        return self._lengths

    @property
    def fingerprint(self) -> str:
        """Identity of the noise."""
        return hashlib.sha256(self._identity.encode()).hexdigest()[:32]

    @property
    def hours(self) -> float:
        """Hours of noise."""
        return float(self._lengths.sum(dtype=np.int64)) / SAMPLE_RATE / 3600

    def __len__(self) -> int:
        return len(self._lengths)

    def audio(self, index: int) -> Samples:
        """All samples of an utterance; read-only."""
        return self.crop(index, 0, int(self._lengths[index]))

    def crop(self, index: int, start: int, num_samples: int) -> Samples:
        """Some samples of an utterance; read-only."""
        room = len(self._pool) - int(self._lengths[index]) + 1
        first = index * _PRIME % room + start
        return self._pool[first : first + num_samples]

    def crops(self, indices: Integers, starts: Integers, num_samples: Integers) -> list[Samples]:
        """`crop` for many utterances at once."""
        wanted = zip(indices.tolist(), starts.tolist(), num_samples.tolist(), strict=True)
        return [self.crop(index, start, count) for index, start, count in wanted]

    def utterance_id(self, index: int) -> str:
        """Unique name."""
        return f"noise-{index}"

    def transcript(self, index: int) -> str | None:
        """Nothing is said."""
        return None

    def speaker(self, index: int) -> str | None:
        """By nobody."""
        return None
