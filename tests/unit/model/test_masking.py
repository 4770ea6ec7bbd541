from __future__ import annotations

import numpy as np
import pytest

from w2v2_ray.model.masking import sample_negatives, span_mask


def runs(row: np.ndarray) -> list[int]:
    edges = np.flatnonzero(np.diff(np.pad(row.astype(int), 1)))
    return list(edges[1::2] - edges[::2])


def test_a_single_row_is_made_of_whole_spans() -> None:
    # One row is never thinned, so runs are as long as a span or, where spans overlap, longer.
    for seed in range(50):
        mask = span_mask(np.random.default_rng(seed), 1, 200, 0.4, 10)
        assert min(runs(mask[0])) >= 10


@pytest.mark.parametrize(("batch", "frames"), [(1, 3), (2, 5), (8, 11), (8, 12), (3, 25), (80, 1500)])
def test_every_row_has_the_same_number_of_masked_frames_at_any_size(batch: int, frames: int) -> None:
    for seed in range(20):
        mask = span_mask(np.random.default_rng(seed), batch, frames, 0.65, 10)
        assert mask.shape == (batch, frames)
        counts = set(mask.sum(1).tolist())
        assert len(counts) == 1
        assert 0 < counts.pop() < frames


def test_the_same_generator_state_draws_the_same_mask() -> None:
    first, second = (span_mask(np.random.default_rng(5), 4, 300, 0.65, 10) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, span_mask(np.random.default_rng(6), 4, 300, 0.65, 10))


def test_the_last_frame_is_never_masked_and_the_others_about_equally() -> None:
    rng = np.random.default_rng(0)
    share = np.mean([span_mask(rng, 8, 60, 0.5, 5) for _ in range(1500)], axis=(0, 1))
    assert share[-1] == 0
    assert share[8:-8].std() / share[8:-8].mean() < 0.03


def test_no_frame_beyond_a_rows_length_is_masked() -> None:
    lengths = [100, 60, 30, 14]
    for seed in range(50):
        mask = span_mask(np.random.default_rng(seed), 4, 100, 0.65, 10, lengths=lengths)
        assert len(set(mask.sum(1).tolist())) == 1
        assert mask[0].any()
        for row, length in zip(mask, lengths, strict=True):
            assert not row[length:].any()


def test_masks_may_be_empty_where_no_span_is_needed_and_are_spans_otherwise() -> None:
    assert not span_mask(np.random.default_rng(0), 2, 768, 0.0, 64, 0).any()
    mask = span_mask(np.random.default_rng(0), 1, 768, 0.5, 64, 0)
    assert min(runs(mask[0])) >= 64


def test_negatives_are_uniform_over_the_other_masked_frames() -> None:
    drawn = sample_negatives(np.random.default_rng(0), 3, 5, 20_000)
    assert drawn.shape == (3, 5, 20_000)
    for own in range(5):
        counts = np.bincount(drawn[:, own].ravel(), minlength=5)
        assert counts[own] == 0
        assert np.delete(counts, own) == pytest.approx(np.full(4, 15_000), rel=0.05)


def test_negatives_of_a_single_masked_frame_are_refused() -> None:
    with pytest.raises(ValueError, match="need 2 or more"):
        sample_negatives(np.random.default_rng(0), 1, 1, 4)
