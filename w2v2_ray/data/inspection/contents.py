"""What a dataset says and repeats: a fingerprint of its audio alone, copies, symbols, texts that do not fit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.codec import digest_of
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.inspection.copies import DIGEST_BYTES, Copies, Digests
from w2v2_ray.data.inspection.histogram import Histogram, histogram_of
from w2v2_ray.data.inspection.levels import Percentiles, percentiles
from w2v2_ray.data.inspection.scripts import scripts_of
from w2v2_ray.data.inspection.speakers import SpeakerReport, SpeakerTally
from w2v2_ray.data.inspection.tally import Tally
from w2v2_ray.data.text import characters_per_s

_EXAMPLES = 5
_MOST_SHOWN = 200
_MOST_WORDS = 50
_TIMES_FASTER, _TIMES_SLOWER = 3.0, 6.0
"""Than the median. Slow is common (a word in a long pause); three times as fast is said by nobody."""


@dataclass(frozen=True)
class Copy:
    """Two utterances of the same samples.

    Args:
        id: The later one.
        first_id: The first one.
        duration_s: Their length.
        transcript: Of the later one.
        first_transcript: Of the first; where they differ, one is wrong.
    """

    id: str
    first_id: str
    duration_s: float
    transcript: str | None
    first_transcript: str | None


@dataclass(frozen=True)
class Misfit:
    """A transcript that hardly belongs to its audio.

    Args:
        id: Of the utterance.
        duration_s: Its length.
        characters_per_s: How fast it would have to be spoken.
        transcript: What it is said to be.
    """

    id: str
    duration_s: float
    characters_per_s: float
    transcript: str


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
        scripts: Characters of each script; see `script_of`.
        words: The 50 most frequent, as they stand between blanks.
        different_words: How many there are; None when too many to count.
        speakers: Who speaks how much.
        rates: Characters a second; None without transcripts.
        copies_found: The first 200 copies.
        too_fast_found: The 200 fastest of those too fast.
        too_slow_found: The 200 slowest of those too slow.
    """

    audio_fingerprint: str
    copies: int
    copy_examples: tuple[str, ...]
    symbols: dict[str, int]
    characters_per_s: Percentiles | None
    too_fast: int
    too_slow: int
    misfit_examples: tuple[str, ...]
    scripts: dict[str, int]
    words: dict[str, int]
    different_words: int | None
    speakers: SpeakerReport
    rates: Histogram | None
    copies_found: tuple[Copy, ...]
    too_fast_found: tuple[Misfit, ...]
    too_slow_found: tuple[Misfit, ...]


@dataclass(frozen=True)
class _Texts:
    """What was found in one reading of the texts. Shape: rates [utterances], NaN without a transcript."""

    symbols: Counter[str]
    words: Tally
    speakers: SpeakerTally
    rates: npt.NDArray[np.float64]


def measure_contents(dataset: SpeechDataset) -> ContentReport:
    """Read all audio and all texts of a dataset, one utterance after the other."""
    digests = np.empty((len(dataset), DIGEST_BYTES), np.uint8)
    for index in range(len(dataset)):
        digests[index] = np.frombuffer(digest_of(dataset.audio(index)), np.uint8)
    return content_report(dataset, digests)


def content_report(dataset: SpeechDataset, digests: Digests) -> ContentReport:
    """Read the texts of a dataset whose audio was read already.

    Args:
        dataset: The dataset.
        digests: Of each utterance, by `digest_of`.
    """
    copies = Copies.among(digests)
    texts = _read_texts(dataset)
    rates = texts.rates
    spoken = rates[~np.isnan(rates)]
    middle = float(np.median(spoken)) if len(spoken) else 0.0
    fast = np.flatnonzero(rates > middle * _TIMES_FASTER)
    slow = np.flatnonzero(rates < middle / _TIMES_SLOWER)
    name = dataset.utterance_id
    pairs = list(zip(copies.places.tolist(), copies.firsts.tolist(), strict=True))[:_MOST_SHOWN]
    return ContentReport(
        audio_fingerprint=copies.fingerprint,
        copies=len(copies.places),
        copy_examples=tuple(f"{name(index)} = {name(earlier)}" for index, earlier in pairs[:_EXAMPLES]),
        symbols=dict(sorted(texts.symbols.items(), key=lambda pair: (-pair[1], pair[0]))),
        characters_per_s=percentiles(spoken) if len(spoken) else None,
        too_fast=len(fast),
        too_slow=len(slow),
        misfit_examples=tuple(
            name(index) for index in [*fast[:_EXAMPLES].tolist(), *slow[:_EXAMPLES].tolist()][:_EXAMPLES]
        ),
        scripts=scripts_of(texts.symbols),
        words=texts.words.most_frequent(_MOST_WORDS),
        different_words=texts.words.different,
        speakers=texts.speakers.report(),
        rates=histogram_of(spoken) if len(spoken) else None,
        copies_found=tuple(_copy(dataset, index, earlier) for index, earlier in pairs),
        too_fast_found=_misfits(dataset, rates, fast[np.argsort(-rates[fast], kind="stable")]),
        too_slow_found=_misfits(dataset, rates, slow[np.argsort(rates[slow], kind="stable")]),
    )


def _read_texts(dataset: SpeechDataset) -> _Texts:
    found = _Texts(Counter(), Tally(), SpeakerTally(), np.full(len(dataset), np.nan))
    for index in range(len(dataset)):
        num_samples = int(dataset.num_samples[index])
        found.speakers.add(dataset.speaker(index), num_samples)
        text = dataset.transcript(index)
        if text:
            found.symbols.update(text)
            found.words.add(text.split())
            found.rates[index] = characters_per_s(text, num_samples)
    return found


def _copy(dataset: SpeechDataset, index: int, earlier: int) -> Copy:
    return Copy(
        id=dataset.utterance_id(index),
        first_id=dataset.utterance_id(earlier),
        duration_s=int(dataset.num_samples[index]) / SAMPLE_RATE,
        transcript=dataset.transcript(index),
        first_transcript=dataset.transcript(earlier),
    )


def _misfits(
    dataset: SpeechDataset, rates: npt.NDArray[np.float64], places: npt.NDArray[np.int64]
) -> tuple[Misfit, ...]:
    return tuple(
        Misfit(
            id=dataset.utterance_id(index),
            duration_s=int(dataset.num_samples[index]) / SAMPLE_RATE,
            characters_per_s=float(rates[index]),
            transcript=dataset.transcript(index) or "",
        )
        for index in places[:_MOST_SHOWN].tolist()
    )
