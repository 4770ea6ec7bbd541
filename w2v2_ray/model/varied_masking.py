"""Masked spans of varied lengths, or that keep clear of each other: fairseq's options beyond the published recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from w2v2_ray.model.masking import BoolArray, IntArray, span_mask

SpanSelection = Literal["static", "uniform", "normal", "poisson"]


def draw_spans(
    rng: np.random.Generator,
    batch: int,
    frames: int,
    mask_prob: float,
    mask_length: int,
    min_spans: int,
    *,
    selection: SpanSelection = "static",
    other: float = 0.0,
    no_overlap: bool = False,
    min_space: int = 1,
    lengths: Sequence[int] | None = None,
) -> BoolArray:
    """Draw masked spans for one sub-batch, as many masked frames in every row.

    Spans of one length that may overlap are `span_mask`'s, draw for draw. Otherwise the number of spans is the same,
    and their lengths come from a distribution. Source: fairseq `compute_mask_indices`, with two
    differences: a row never ends up with fewer masked frames than `min_spans` (further single frames make up for it,
    since the contrastive task needs two), and with `min_space: 0` a gap that just holds a span is passed over, where
    fairseq fails.

    Args:
        rng: Where random numbers come from.
        batch: B.
        frames: T.
        mask_prob: Share of frames chosen as span starts times `mask_length`.
        mask_length: Frames of a span; their mean for `normal` and `poisson`, half the longest for `uniform`.
        min_spans: Least number of spans of a row.
        selection: "static"; "uniform", from `other` to twice `mask_length`, both included; "normal", with deviation
            `other`, rounded, at least 1; "poisson", which may be 0.
        other: See `selection`.
        no_overlap: Spans keep `min_space` frames between them; what finds no room is left out.
        min_space: See `no_overlap`.
        lengths: Valid frames of each row, where rows are padded; no frame beyond them is masked.

    Returns:
        Shape: [B, T], True = masked.
    """
    if selection == "static" and not no_overlap:
        return span_mask(rng, batch, frames, mask_prob, mask_length, min_spans, lengths=lengths)
    sizes = [frames] * batch if lengths is None else [int(length) for length in lengths]
    shared = rng.random()
    mask = np.zeros((batch, frames), dtype=np.bool_)
    for row, size in enumerate(sizes):
        u = shared if lengths is None else rng.random()
        count = min(max(int(mask_prob * size / mask_length + u), min_spans), max(size - 1, 0))
        spans = _span_lengths(rng, selection, count, mask_length, other, size)
        if no_overlap:
            _place_apart(rng, mask[row], size, spans, min_space)
        else:
            _place(rng, mask[row], size, spans)
        _make_up(rng, mask[row], size, min(min_spans, size))
    return _thinned(rng, mask)


def _span_lengths(
    rng: np.random.Generator, selection: SpanSelection, count: int, mask_length: int, other: float, size: int
) -> IntArray:
    if selection == "static":
        spans = np.full(count, mask_length, dtype=np.int64)
    elif selection == "uniform":
        spans = rng.integers(int(other), 2 * mask_length + 1, size=count)
    elif selection == "normal":
        spans = np.maximum(np.rint(rng.normal(mask_length, other, size=count)), 1).astype(np.int64)
    else:
        spans = rng.poisson(mask_length, size=count).astype(np.int64)
    if count and not spans.any():
        spans[0] = min(mask_length, size - 1)
    return spans


def _place(rng: np.random.Generator, row: BoolArray, size: int, spans: IntArray) -> None:
    """Starts without replacement, from where the shortest span fits; a longer one may be cut off at the end."""
    if not len(spans):
        return
    shortest = int(spans.min())
    if size - shortest <= len(spans):
        shortest = size - len(spans) - 1
    starts = rng.choice(size - shortest, len(spans), replace=False)
    for start, length in zip(starts, spans, strict=True):
        row[start : min(start + length, size)] = True


def _place_apart(rng: np.random.Generator, row: BoolArray, size: int, spans: IntArray, min_space: int) -> None:
    """The longest first, each in a gap chosen by its length, which it divides in two."""
    gaps = [(0, size)]
    shortest = int(spans.min(initial=size))
    # A gap before a span ends on that span's first frame where there is no space to keep, and this one is not free.
    room_beside = max(min_space, 1)
    for length in sorted((int(span) for span in spans), reverse=True):
        room = np.asarray([end - begin if end - begin >= length + room_beside else 0 for begin, end in gaps])
        if not room.sum():
            break
        begin, end = gaps.pop(int(rng.choice(len(gaps), p=room / room.sum())))
        start = int(rng.integers(begin, end - length))
        row[start : start + length] = True
        if start - begin - min_space >= shortest:
            gaps.append((begin, start - min_space + 1))
        if end - start - length - min_space > shortest:
            gaps.append((start + length + min_space, end))


def _make_up(rng: np.random.Generator, row: BoolArray, size: int, least: int) -> None:
    missing = least - int(row.sum())
    if missing > 0:
        row[rng.choice(np.flatnonzero(~row[:size]), missing, replace=False)] = True


def _thinned(rng: np.random.Generator, mask: BoolArray) -> BoolArray:
    """Every row with the smallest count of them, what stays chosen at random."""
    counts = mask.sum(1)
    least = int(counts.min(initial=mask.shape[1]))
    for row, count in zip(mask, counts, strict=True):
        if count > least:
            row[rng.choice(np.flatnonzero(row), count - least, replace=False)] = False
    return mask
