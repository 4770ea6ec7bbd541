"""Long audio in overlapping windows, so that memory does not grow with the length of a file.

Windows begin at multiples of the frame stride, so the frames of neighbours fall on each other; the log-probabilities
are joined in the middle of the overlap and decoded once, as if they came from one pass. Each window is normalised by
itself (the first block's GroupNorm), so frames differ a little from those of one pass; shorter audio is one window.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A piece of audio and the frames of it that count.

    Attributes:
        start: First sample, a multiple of the stride.
        stop: Sample after the last.
        first_frame: First frame kept, counted within the window.
        last_frame: Frame after the last one kept.
    """

    start: int
    stop: int
    first_frame: int
    last_frame: int


def plan_windows(
    num_samples: int,
    window_samples: int,
    overlap_samples: int,
    stride: int,
    num_frames: Callable[[int], int],
    *,
    grid: int = 1,
) -> list[Window]:
    """Cut audio into windows whose kept frames are all its frames, each once.

    Args:
        num_samples: Length of the audio.
        window_samples: Length of a window; shorter audio is one window.
        overlap_samples: What neighbours share; below half a window.
        stride: Samples from one frame to the next.
        num_frames: Frames of so many samples.
        grid: Windows begin at multiples of so many frames: of an Hourglass's factor, frames are then shortened with the
            same neighbours in every window.

    Raises:
        ValueError: When the overlap leaves no step.
    """
    step = stride * grid
    window, overlap = window_samples // step * step, overlap_samples // step * step
    if not 0 < overlap <= window // 2:
        raise ValueError(f"overlap of {overlap_samples} samples in windows of {window_samples}")
    if num_samples <= window:
        return [Window(0, num_samples, 0, num_frames(num_samples))]
    starts = list(range(0, num_samples - window, window - overlap))
    # The last window is as long as the others, so that a remainder of a second is not heard alone.
    starts.append(-(-(num_samples - window) // step) * step)
    cuts = [
        0,
        # Neighbours share [later, earlier + window); they part in its middle.
        *((later + earlier + window) // (2 * step) * grid for earlier, later in itertools.pairwise(starts)),
    ]
    cuts.append(num_frames(num_samples))
    return [
        Window(start, min(start + window, num_samples), begin - start // stride, end - start // stride)
        for start, (begin, end) in zip(starts, itertools.pairwise(cuts), strict=True)
    ]
