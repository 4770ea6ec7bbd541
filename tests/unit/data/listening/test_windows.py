from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v2_ray.data.listening.windows import plan_windows
from w2v2_ray.spec.model import FeatureEncoderSpec

ENCODER = FeatureEncoderSpec()
STRIDE = ENCODER.stride_samples


def plan(num_samples, window=160_000, overlap=32_000):
    return plan_windows(num_samples, window, overlap, STRIDE, ENCODER.num_frames)


@given(st.integers(0, 3_000_000), st.integers(10, 500), st.integers(3, 200))
def test_every_frame_is_kept_once_and_in_order(num_samples, window_frames, overlap_frames):
    overlap_frames = min(overlap_frames, window_frames // 2)
    windows = plan(num_samples, window_frames * STRIDE, overlap_frames * STRIDE)
    kept = [
        window.start // STRIDE + frame for window in windows for frame in range(window.first_frame, window.last_frame)
    ]
    assert kept == list(range(ENCODER.num_frames(num_samples)))


@given(st.integers(1, 3_000_000))
def test_kept_frames_are_frames_that_the_window_gives(num_samples):
    for window in plan(num_samples):
        assert window.start % STRIDE == 0
        assert 0 <= window.first_frame <= window.last_frame <= ENCODER.num_frames(window.stop - window.start)
        assert window.stop <= num_samples


@given(st.integers(160_001, 3_000_000))
def test_no_window_is_much_shorter_than_the_others(num_samples):
    assert all(window.stop - window.start > 160_000 - STRIDE for window in plan(num_samples))


def test_what_fits_a_window_is_one():
    assert len(plan(160_000)) == 1
    assert len(plan(160_001)) == 2


@pytest.mark.parametrize("overlap", [0, 90_000])
def test_an_overlap_that_leaves_no_step_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap"):
        plan(1_000_000, overlap=overlap)
