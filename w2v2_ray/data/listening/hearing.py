"""Whether what a model was given can be heard at all."""

from __future__ import annotations

import math

from w2v2_ray.audio.samples import Samples
from w2v2_ray.audio.signal import Channel, SignalLimits, clipped_fraction, decibels

_LIMITS = SignalLimits()


class Hearing:
    """Adds up the signal of one source, piece by piece; pieces may overlap."""

    def __init__(self) -> None:
        self._level_dbfs = -math.inf
        self._samples = 0
        self._clipped = 0.0

    def add(self, samples: Samples) -> None:
        """Hear one more piece."""
        if not len(samples):
            return
        channel = Channel.of(samples)
        # The loudest piece counts: a word in an hour of silence is heard.
        self._level_dbfs = max(self._level_dbfs, decibels(channel.power))
        self._clipped += clipped_fraction(channel) * len(samples)
        self._samples += len(samples)

    @property
    def is_silent(self) -> bool:
        """Whether no piece is as loud as audio that `prepare` keeps."""
        return self._level_dbfs < _LIMITS.min_level_dbfs

    @property
    def note(self) -> str | None:
        """Why the words are not to be trusted, where that is so."""
        if self.is_silent:
            return f"silent: nothing is louder than {self._level_dbfs:.1f} dBFS"
        clipped = self._clipped / self._samples
        if clipped > _LIMITS.max_clipped:
            return f"saturated: {clipped:.1%} of the samples are clipped"
        return None


def note_of(samples: Samples) -> str | None:
    """The note of one utterance."""
    hearing = Hearing()
    hearing.add(samples)
    return hearing.note
