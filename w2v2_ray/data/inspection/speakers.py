"""Who speaks how much in a dataset."""

from __future__ import annotations

from dataclasses import dataclass

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.inspection.tally import MOST_NAMES, Tally

_MOST_SHOWN = 50


@dataclass(frozen=True)
class SpeakerShare:
    """One speaker.

    Args:
        speaker: The name.
        utterances: How many.
        hours: Their audio.
    """

    speaker: str
    utterances: int
    hours: float


@dataclass(frozen=True)
class SpeakerReport:
    """The speakers of a dataset.

    Args:
        most: The 50 who speak longest, longest first.
        without: Utterances of which no speaker is known.
        counted_all: Whether there were few enough to keep all; else the figures are at least those.
    """

    most: tuple[SpeakerShare, ...]
    without: int
    counted_all: bool


class SpeakerTally:
    """Adds up utterances and audio of each speaker, in bounded memory.

    Args:
        most: Speakers that are kept.
    """

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._utterances = Tally(most)
        self._samples = Tally(most)
        self._without = 0

    def add(self, speaker: str | None, num_samples: int) -> None:
        """Count an utterance."""
        if speaker is None:
            self._without += 1
            return
        self._utterances.add_times(speaker, 1)
        self._samples.add_times(speaker, num_samples)

    def report(self) -> SpeakerReport:
        """What was added up."""
        return SpeakerReport(
            most=tuple(
                SpeakerShare(speaker, self._utterances.times(speaker), samples / SAMPLE_RATE / 3600)
                for speaker, samples in self._samples.most_frequent(_MOST_SHOWN).items()
            ),
            without=self._without,
            counted_all=self._samples.different is not None,
        )
