"""Transcribing audio of any length, several pieces at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from w2v2_ray.data.listening.inputs import Source
from w2v2_ray.data.listening.pieces import Cutting, Failure, Framing, Heard, hear, joined
from w2v2_ray.recognition.hypothesis import Decoder, FloatArray, Hypothesis

_USUAL = Cutting()


class Listener(Framing, Protocol):
    """What `Recogniser` offers."""

    frame_s: float

    def log_probs(self, waveforms: list[NDArray[np.int16]]) -> list[FloatArray]:
        """Log-probabilities of each waveform."""
        ...


@dataclass(frozen=True)
class Transcript:
    """What was said in one source.

    Attributes:
        name: Of the source.
        duration_s: Its length.
        frame_s: Seconds of a frame.
        hypothesis: Words with their frames.
        note: Why they are not to be trusted, where the audio is silent or saturated.
        is_silent: Whether nothing can be heard; the confidence of no words then means nothing.
    """

    name: str
    duration_s: float
    frame_s: float
    hypothesis: Hypothesis
    note: str | None = None
    is_silent: bool = False

    @property
    def text(self) -> str:
        """The words, parted by spaces."""
        return self.hypothesis.text


def transcribe(
    sources: Iterable[Source], listener: Listener, decoder: Decoder, cutting: Cutting = _USUAL
) -> Iterator[Transcript | Failure]:
    """Transcribe sources, in their order; see `hear` for what is held in memory.

    Args:
        sources: What to transcribe.
        listener: The recogniser.
        decoder: Words from its log-probabilities.
        cutting: How long sources are cut.

    Raises:
        ValueError: When the overlap is not between a frame and half a window.
    """
    for heard in hear(sources, listener.log_probs, listener, cutting):
        yield heard if isinstance(heard, Failure) else _transcript(heard, listener.frame_s, decoder)


def _transcript(heard: Heard[FloatArray], frame_s: float, decoder: Decoder) -> Transcript:
    hypothesis = decoder.decode(joined(heard.pieces))
    return Transcript(heard.name, heard.duration_s, frame_s, hypothesis, heard.hearing.note, heard.hearing.is_silent)
