"""Which frames and channels are masked and which frames are negatives: drawn with numpy, outside the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def span_mask(
    rng: np.random.Generator,
    batch: int,
    frames: int,
    mask_prob: float,
    mask_length: int,
    min_spans: int = 2,
    *,
    lengths: Sequence[int] | None = None,
) -> BoolArray:
    """Draw masked spans for one sub-batch, the same number of masked frames in every row.

    A row gets floor(p·T / length + u) spans, u ~ U[0, 1) (one u for the sub-batch where nothing is padded, one a row
    otherwise), at least `min_spans`; their starts are drawn without replacement from T - length positions, so spans
    may overlap. Rows are then thinned at random to the smallest count, so that masked frames form a [B, M] block.

    Source: reference section 3 (`compute_mask_indices`, static lengths).

    Args:
        rng: Where random numbers come from.
        batch: B.
        frames: T.
        mask_prob: p; the share of frames masked is about half of what it says, since spans overlap.
        mask_length: Frames of a span.
        min_spans: Least number of spans of a row.
        lengths: Valid frames of each row, where rows are padded; no frame beyond them is masked.

    Returns:
        Shape: [B, T], True = masked.
    """
    if lengths is None:
        sizes = np.full(batch, frames, dtype=np.int64)
        u = np.broadcast_to(rng.random(), (batch,))
    else:
        sizes = np.asarray(lengths, dtype=np.int64)
        u = rng.random(batch)
    spans = np.maximum((mask_prob * sizes / mask_length + u).astype(np.int64), min_spans)
    # A row too short for its spans gets shorter ones and one start fewer than it has frames.
    spans = np.clip(spans, 0, np.maximum(sizes - 1, 0))
    span_lengths = np.where(sizes - mask_length <= spans, np.maximum(sizes - spans - 1, 1), mask_length)
    starts = _choose(rng, np.arange(frames) < (sizes - span_lengths)[:, None], spans)
    mask = _cover(starts, span_lengths) & (np.arange(frames) < sizes[:, None])
    counts = mask.sum(1)
    return _choose(rng, mask, np.broadcast_to(counts.min(initial=frames), (batch,)))


def sample_negatives(rng: np.random.Generator, batch: int, masked: int, num_negatives: int) -> IntArray:
    """Draw for every masked frame N others of the same utterance, uniformly and with replacement.

    Args:
        rng: Where random numbers come from.
        batch: B.
        masked: M, masked frames of each utterance.
        num_negatives: N.

    Returns:
        Positions among the utterance's masked frames, 0 to M - 1, never the frame's own. Shape: [B, M, N].

    Raises:
        ValueError: If there are fewer than two masked frames, so no others to draw from.
    """
    if masked < 2:
        raise ValueError(f"masked: {masked} frames an utterance; negatives need 2 or more (use longer crops)")
    drawn = rng.integers(0, masked - 1, size=(batch, masked, num_negatives))
    # Drawn from M - 1 values; stepping over the frame's own position keeps the rest equally likely.
    drawn += drawn >= np.arange(masked)[None, :, None]
    return drawn


def sample_cross_negatives(rng: np.random.Generator, batch: int, masked: int, num_negatives: int) -> IntArray:
    """Draw for every masked frame N others of its whole sub-batch, uniformly and with replacement.

    Source: fairseq `cross_sample_negatives`. There the frame that is stepped over is the one of that number in the
    first utterance, and a frame's distractors are then those of another; here it is the frame's own.

    Args:
        rng: Where random numbers come from.
        batch: B.
        masked: M, masked frames of each utterance.
        num_negatives: N.

    Returns:
        Positions among the sub-batch's masked frames, 0 to B·M - 1, never the frame's own. Shape: [B, M, N].
    """
    return sample_negatives(rng, 1, batch * masked, num_negatives).reshape(batch, masked, num_negatives)


def sample_codes(
    rng: np.random.Generator, batch: int, masked: int, num_codes: int, codebooks: int, entries: int
) -> IntArray:
    """Draw for every masked frame codes out of all that the codebooks can make (fairseq `codebook_negatives`).

    Returns:
        An entry of each codebook. Shape: [B, M, num_codes, G].
    """
    return rng.integers(0, entries, size=(batch, masked, num_codes, codebooks))


def _choose(rng: np.random.Generator, candidates: BoolArray, counts: IntArray) -> BoolArray:
    """Keep `counts[i]` of the candidates of row i, every subset equally likely.

    Shape: candidates [B, T], counts [B] -> [B, T].
    """
    keys = np.where(candidates, rng.random(candidates.shape), 2.0)
    order = np.argsort(keys, axis=1)
    chosen = np.zeros(candidates.shape, dtype=np.bool_)
    np.put_along_axis(chosen, order, np.arange(candidates.shape[1]) < counts[:, None], axis=1)
    return chosen & candidates


def _cover(starts: BoolArray, span_lengths: IntArray) -> BoolArray:
    """Mark the frames within `span_lengths[i]` of a start of row i.

    Shape: starts [B, T], span_lengths [B] -> [B, T].
    """
    frames = starts.shape[1]
    positions = np.arange(frames)
    # The latest start at or before each frame; far in the past where there is none.
    latest = np.maximum.accumulate(np.where(starts, positions, -frames - int(span_lengths.max(initial=0))), axis=1)
    covered: BoolArray = positions - latest < span_lengths[:, None]
    return covered
