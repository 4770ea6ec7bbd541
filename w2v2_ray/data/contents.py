"""What a dataset says and repeats: a fingerprint of its audio alone, copies, symbols, texts that do not fit."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from w2v2_ray.data.codec import Samples
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.levels import Percentiles, percentiles
from w2v2_ray.data.schema import SAMPLE_RATE

_EXAMPLES = 5
_TIMES_FASTER, _TIMES_SLOWER = 3.0, 6.0
"""Than the median. Slow is common (a word in a long pause); three times as fast is said by nobody."""


@dataclass(frozen=True)
class ContentReport:
    """The content of a dataset.

    Args:
        audio_fingerprint: Of the samples alone: the same for the same utterances under other names, in another order,
            with other texts, in another codec.
        copies: Utterances whose samples an earlier one has.
        copy_examples: Some of them: `id = id of the earlier one`.
        symbols: Characters of the transcripts, how many of each, most frequent first.
        characters_per_s: How fast the transcripts are spoken; None without any.
        too_fast: Transcripts spoken three times as fast as the median: too long for their audio.
        too_slow: Transcripts spoken six times as slowly as the median: most of the audio is not in them.
        misfit_examples: Ids of some of both.
    """

    audio_fingerprint: str
    copies: int
    copy_examples: tuple[str, ...]
    symbols: dict[str, int]
    characters_per_s: Percentiles | None
    too_fast: int
    too_slow: int
    misfit_examples: tuple[str, ...]


def digest_of(samples: Samples) -> bytes:
    """What tells one utterance's samples from another's."""
    return hashlib.sha256(samples.tobytes()).digest()


def measure_contents(dataset: SpeechDataset) -> ContentReport:
    """Read all audio and all texts of a dataset, one utterance after the other."""
    return content_report(dataset, [digest_of(dataset.audio(index)) for index in range(len(dataset))])


def content_report(dataset: SpeechDataset, digests: Sequence[bytes]) -> ContentReport:
    """Read the texts of a dataset whose audio was read already.

    Args:
        dataset: The dataset.
        digests: Of each utterance, by `digest_of`.
    """
    first: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []
    symbols: Counter[str] = Counter()
    places: list[int] = []
    rates: list[float] = []
    for index, digest in enumerate(digests):
        if first.setdefault(digest, index) != index:
            copies.append((index, first[digest]))
        text = dataset.transcript(index)
        if text:
            symbols.update(text)
            places.append(index)
            rates.append(len(text.replace(" ", "")) * SAMPLE_RATE / int(dataset.num_samples[index]))
    found = np.array(rates)
    middle = float(np.median(found)) if rates else 0.0
    fast = [places[number] for number in np.flatnonzero(found > middle * _TIMES_FASTER)]
    slow = [places[number] for number in np.flatnonzero(found < middle / _TIMES_SLOWER)]
    name = dataset.utterance_id
    return ContentReport(
        audio_fingerprint=hashlib.sha256(b"".join(sorted(digests))).hexdigest()[:32],
        copies=len(copies),
        copy_examples=tuple(f"{name(index)} = {name(earlier)}" for index, earlier in copies[:_EXAMPLES]),
        symbols=dict(sorted(symbols.items(), key=lambda pair: (-pair[1], pair[0]))),
        characters_per_s=percentiles(found) if rates else None,
        too_fast=len(fast),
        too_slow=len(slow),
        misfit_examples=tuple(name(index) for index in [*fast, *slow][:_EXAMPLES]),
    )
