"""Utterances whose samples are there already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DIGEST_BYTES = 32

Digests = npt.NDArray[np.uint8]
"""Of each utterance, by `digest_of`. Shape: [utterances, 32]."""


@dataclass(frozen=True)
class Copies:
    """What is there more than once.

    Args:
        places: Utterances whose samples an earlier one has, in order.
        firsts: For each the first one that has them.
        fingerprint: Of all samples, whatever their order.

    Shape:
        places, firsts [copies]
    """

    places: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int64]
    fingerprint: str

    @classmethod
    def among(cls, digests: Digests) -> Copies:
        """Find them by sorting, in 40 bytes an utterance."""
        words = np.ascontiguousarray(digests).view(">u8")  # four numbers sort as the bytes do
        order = np.lexsort(words.T[::-1])
        ordered = digests[order]
        repeats = np.zeros(len(order), bool)
        repeats[1:] = (ordered[1:] == ordered[:-1]).all(axis=1)
        starts = np.maximum.accumulate(np.where(repeats, 0, np.arange(len(order))))
        places = order[repeats]  # lexsort is stable: the first of a group is the earliest
        firsts = order[starts[repeats]]
        by_place = np.argsort(places)
        return cls(places[by_place], firsts[by_place], hashlib.sha256(ordered.tobytes()).hexdigest()[:32])
