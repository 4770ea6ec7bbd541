"""Sources of any length through a model, several windows at a time, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.listening.hearing import Hearing
from w2v2_ray.data.listening.inputs import Source
from w2v2_ray.data.listening.windows import Window, plan_windows
from w2v2_ray.errors import UserError

T = TypeVar("T")
A = TypeVar("A", bound=np.generic)


class Framing(Protocol):
    """How a model divides samples into frames."""

    @property
    def stride_samples(self) -> int:
        """Samples from one frame to the next."""
        ...

    def num_frames(self, num_samples: int) -> int:
        """Frames of so many samples."""
        ...


@dataclass(frozen=True)
class Cutting:
    """How long sources are cut, and how much is computed at once.

    Attributes:
        batch_size: Windows computed together. No result depends on it.
        window_s: Longest piece heard at once; models hear best what is as long as what they were trained on.
        overlap_s: What two pieces share; up to half a window.
        grid: Windows begin at multiples of so many frames; see `plan_windows`.
    """

    batch_size: int = 8
    window_s: float = 15.0
    overlap_s: float = 3.0
    grid: int = 1


@dataclass(frozen=True)
class Failure:
    """A source that could not be heard.

    Attributes:
        name: Of the source.
        reason: Why.
    """

    name: str
    reason: str


@dataclass
class Heard(Generic[T]):
    """A source that was heard to its end.

    Attributes:
        name: Of the source.
        num_samples: Its length at 16 kHz.
        pieces: Each window with what the model made of it, in order.
        hearing: What its signal is like.
    """

    name: str
    num_samples: int = 0
    pieces: list[tuple[Window, T]] = field(default_factory=list)
    hearing: Hearing = field(default_factory=Hearing)

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return self.num_samples / SAMPLE_RATE


@dataclass
class _Work(Generic[T]):
    """A source in progress; windows of several are computed together."""

    heard: Heard[T]
    missing: int = 0
    failure: str | None = None


def hear(
    sources: Iterable[Source],
    compute: Callable[[list[NDArray[np.int16]]], list[T]],
    framing: Framing,
    cutting: Cutting,
) -> Iterator[Heard[T] | Failure]:
    """Give sources to a model, in their order. At most `batch_size` windows of audio are held at once.

    Args:
        sources: What to hear; each is opened when it is its turn.
        compute: What the model makes of each of some waveforms, whatever the others are.
        framing: The model's frames.
        cutting: How sources are cut.

    Raises:
        ValueError: When the overlap is not between a frame and half a window.
    """
    queue: deque[_Work[T]] = deque()
    batch: list[tuple[_Work[T], Window, NDArray[np.int16]]] = []
    window_samples, overlap_samples = round(cutting.window_s * SAMPLE_RATE), round(cutting.overlap_s * SAMPLE_RATE)

    def flush() -> None:
        for (work, window, _), result in zip(batch, compute([samples for _, _, samples in batch]), strict=True):
            work.heard.pieces.append((window, result))
            work.missing -= 1
        batch.clear()

    def finished() -> Iterator[Heard[T] | Failure]:
        while queue and not queue[0].missing:
            work = queue.popleft()
            yield work.heard if work.failure is None else Failure(work.heard.name, work.failure)

    for source in sources:
        work = _Work(Heard[T](source.name))
        try:
            with source.open() as audio:
                work.heard.num_samples = audio.num_samples
                windows = plan_windows(
                    audio.num_samples,
                    window_samples,
                    overlap_samples,
                    framing.stride_samples,
                    framing.num_frames,
                    grid=cutting.grid,
                )
                for window in windows:
                    samples = audio.read(window.start, window.stop - window.start)
                    work.heard.hearing.add(samples)
                    batch.append((work, window, samples))
                    work.missing += 1
                    if len(batch) == cutting.batch_size:
                        flush()
        except UserError as error:
            work.failure = error.message
        queue.append(work)
        yield from finished()
    if batch:
        flush()
    yield from finished()


def joined(pieces: Sequence[tuple[Window, NDArray[A]]], factor: int = 1) -> NDArray[A]:
    """The frames that count of every window, one after the other.

    Args:
        pieces: Windows with all their frames [T, ...].
        factor: Frames of the full rate that one of them stands for; windows are cut at its multiples, too.

    Shape: returns [T, ...].
    """
    parts = [frames[window.first_frame // factor : -(-window.last_frame // factor)] for window, frames in pieces]
    return np.concatenate(parts)
