"""From scores of speech to pieces of a recording: where it is cut, and what is left out.

Pieces begin and end in pauses. What is said within one is whole: only a stretch that is longer than the longest piece
is cut within, where it is least like speech.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.piece_settings import PieceSettings
from w2v2_ray.data.segmentation.detectors import FRAME_SAMPLES, Scores

_ON, _OFF = 0.5, 0.35
"""Speech begins at the one and ends below the other, as in Silero's own reading of its scores."""
_SHORTEST_SPEECH_S = 0.25
_LATEST_SHARE = 0.5
"""A stretch that is too long is cut in the later half of the longest piece."""


@dataclass(frozen=True)
class Piece:
    """A part of a recording, in samples at 16 kHz."""

    start: int
    stop: int


@dataclass(frozen=True)
class Cut:
    """What a recording was cut into.

    Attributes:
        pieces: In order, none overlapping.
        speech_samples: Taken for speech.
        short_samples: Of pieces that are too short.
    """

    pieces: tuple[Piece, ...]
    speech_samples: int
    short_samples: int


def cut(scores: Scores, num_samples: int, settings: PieceSettings) -> Cut:
    """Cut a recording.

    Args:
        scores: Of its frames. Shape: [frames].
        num_samples: Its length at 16 kHz.
        settings: How.
    """
    stretches = [
        part
        for stretch in _stretches(scores)
        for part in _bounded(scores, stretch, int(settings.max_s * SAMPLE_RATE) // FRAME_SAMPLES)
    ]
    groups: list[tuple[int, int]] = []
    longest = round((settings.max_s - 2 * settings.margin_s) * SAMPLE_RATE) // FRAME_SAMPLES
    pause = settings.pause_s * SAMPLE_RATE / FRAME_SAMPLES
    for start, stop in stretches:
        if groups and start - groups[-1][1] < pause and stop - groups[-1][0] <= longest:
            groups[-1] = (groups[-1][0], stop)
        else:
            groups.append((start, stop))
    pieces = _with_margins(groups, num_samples, round(settings.margin_s * SAMPLE_RATE), settings.max_s)
    shortest = settings.min_s * SAMPLE_RATE
    return Cut(
        tuple(piece for piece in pieces if piece.stop - piece.start >= shortest),
        sum(stop - start for start, stop in stretches) * FRAME_SAMPLES,
        sum(piece.stop - piece.start for piece in pieces if piece.stop - piece.start < shortest),
    )


def _stretches(scores: Scores) -> list[tuple[int, int]]:
    """Speech without a pause, in frames: from where the score passes `_ON` to where it falls below `_OFF`."""
    # +1 where speech may begin, -1 where it must end, 0 where it stays what it was.
    marks = np.where(scores >= _ON, 1, np.where(scores < _OFF, -1, 0))
    places = np.flatnonzero(marks)
    if not len(places):
        return []
    filled = marks[places[np.maximum(np.searchsorted(places, np.arange(len(scores)), side="right") - 1, 0)]]
    filled[: places[0]] = -1
    edges = np.flatnonzero(np.diff(np.concatenate([[-1], filled, [-1]])))
    shortest = _SHORTEST_SPEECH_S * SAMPLE_RATE / FRAME_SAMPLES
    pairs = [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    return [(start, stop) for start, stop in pairs if stop - start >= shortest]


def _bounded(scores: Scores, stretch: tuple[int, int], longest: int) -> list[tuple[int, int]]:
    """A stretch, cut where it is least like speech as often as it is too long."""
    start, stop = stretch
    parts = []
    while stop - start > longest:
        first = start + round(longest * _LATEST_SHARE)
        place = first + int(np.argmin(scores[first : start + longest]))
        parts.append((start, place))
        start = place
    return [*parts, (start, stop)]


def _with_margins(groups: list[tuple[int, int]], num_samples: int, margin: int, max_s: float) -> list[Piece]:
    """Pieces in samples, each with half of the pause around it at most, and no longer than the longest."""
    pieces = []
    for number, (start, stop) in enumerate(groups):
        before = start - groups[number - 1][1] if number else start * 2
        after = groups[number + 1][0] - stop if number + 1 < len(groups) else num_samples * 2
        room = max(0, int(max_s * SAMPLE_RATE) - (stop - start) * FRAME_SAMPLES)
        first = start * FRAME_SAMPLES - min(margin, before * FRAME_SAMPLES // 2, room // 2)
        last = stop * FRAME_SAMPLES + min(margin, after * FRAME_SAMPLES // 2, room // 2)
        pieces.append(Piece(max(0, first), min(last, num_samples)))
    return pieces
