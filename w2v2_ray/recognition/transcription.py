"""Transcribing audio of any length, several pieces at a time, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from w2v2_ray.data.schema import SAMPLE_RATE
from w2v2_ray.errors import UserError
from w2v2_ray.recognition.hearing import Hearing
from w2v2_ray.recognition.hypothesis import Decoder, FloatArray, Hypothesis
from w2v2_ray.recognition.windows import Window, plan_windows


class Audio(Protocol):
    """What is heard: 16 kHz mono int16, read piece by piece."""

    num_samples: int

    def read(self, start: int, count: int) -> NDArray[np.int16]:
        """Samples `start` to `start + count`."""
        ...


class Listener(Protocol):
    """What `Recogniser` offers."""

    stride_samples: int
    frame_s: float

    def num_frames(self, num_samples: int) -> int:
        """Frames of so many samples."""
        ...

    def log_probs(self, waveforms: list[NDArray[np.int16]]) -> list[FloatArray]:
        """Log-probabilities of each waveform."""
        ...


@dataclass(frozen=True)
class Source:
    """Something to transcribe.

    Attributes:
        name: For the output.
        open: Gives its audio.
    """

    name: str
    open: Callable[[], AbstractContextManager[Audio]]


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


@dataclass(frozen=True)
class Failure:
    """A source that could not be transcribed.

    Attributes:
        name: Of the source.
        reason: Why.
    """

    name: str
    reason: str


@dataclass
class _Work:
    """A source in progress; windows of several are computed together."""

    name: str
    num_samples: int = 0
    missing: int = 0
    frames: list[FloatArray] = field(default_factory=list)
    failure: str | None = None
    hearing: Hearing = field(default_factory=Hearing)


def transcribe(
    sources: Iterable[Source],
    listener: Listener,
    decoder: Decoder,
    *,
    batch_size: int = 8,
    window_s: float = 15.0,
    overlap_s: float = 3.0,
) -> Iterator[Transcript | Failure]:
    """Transcribe sources, in their order. At most `batch_size` windows of audio are held at once.

    Args:
        sources: What to transcribe; each is opened when it is its turn.
        listener: The recogniser.
        decoder: Words from its log-probabilities.
        batch_size: Windows computed together. No transcript depends on it.
        window_s: Longest piece heard at once; models hear best what is as long as what they were trained on.
        overlap_s: What two pieces share.

    Raises:
        ValueError: When the overlap is not between a frame and half a window.
    """
    queue: deque[_Work] = deque()
    batch: list[tuple[_Work, Window, NDArray[np.int16]]] = []
    window_samples, overlap_samples = round(window_s * SAMPLE_RATE), round(overlap_s * SAMPLE_RATE)

    def compute() -> None:
        for (work, window, _), log_probs in zip(batch, listener.log_probs([w for _, _, w in batch]), strict=True):
            work.frames.append(log_probs[window.first_frame : window.last_frame])
            work.missing -= 1
        batch.clear()

    def finished() -> Iterator[Transcript | Failure]:
        while queue and not queue[0].missing:
            yield _finish(queue.popleft(), listener, decoder)

    for source in sources:
        work = _Work(source.name)
        try:
            with source.open() as audio:
                work.num_samples = audio.num_samples
                windows = plan_windows(
                    audio.num_samples, window_samples, overlap_samples, listener.stride_samples, listener.num_frames
                )
                for window in windows:
                    samples = audio.read(window.start, window.stop - window.start)
                    work.hearing.add(samples)
                    batch.append((work, window, samples))
                    work.missing += 1
                    if len(batch) == batch_size:
                        compute()
        except UserError as error:
            work.failure = error.message
        queue.append(work)
        yield from finished()
    if batch:
        compute()
    yield from finished()


def _finish(work: _Work, listener: Listener, decoder: Decoder) -> Transcript | Failure:
    if work.failure is not None:
        return Failure(work.name, work.failure)
    hypothesis = decoder.decode(np.concatenate(work.frames))
    return Transcript(
        work.name,
        work.num_samples / SAMPLE_RATE,
        listener.frame_s,
        hypothesis,
        work.hearing.note,
        work.hearing.is_silent,
    )
