from __future__ import annotations

import threading

import numpy as np
import pytest

from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.loader import CropLoader, PaddedLoader, Prefetcher
from w2v2_ray.data.random_streams import RandomStreams


class Ramps:
    """Utterance u holds the samples 100 u, 100 u + 1, ...: a crop betrays where it was taken."""

    def __init__(self, lengths):
        self.num_samples = np.asarray(lengths, dtype=np.int32)

    def crops(self, indices, starts, num_samples):
        return [self.crop(*place) for place in zip(indices, starts, num_samples, strict=True)]

    def crop(self, index, start, num_samples):
        assert start >= 0
        assert start + num_samples <= self.num_samples[index]
        return (100 * index + np.arange(start, start + num_samples)).astype(np.int16)


def make_loader(seed=1, concat=2):
    source = Ramps(np.random.default_rng(0).integers(20, 90, 60))
    streams = RandomStreams(seed)
    plan = BatchPlan(
        source.num_samples,
        max_tokens=300,
        size_multiple=1,
        concat=concat,
        min_samples=1,
        max_samples=80,
        streams=streams,
    )
    return CropLoader(source, plan, streams), plan, source


def test_a_micro_batch_holds_its_utterances_cropped_to_one_length():
    loader, plan, source = make_loader()
    starts = []
    for index in range(10):
        batch = loader.load(index)
        members = np.concatenate(plan.micro_batch(index).utterances)
        assert batch.waveform.shape == (len(members), plan.micro_batch(index).crop_samples)
        for row, utterance in zip(batch.waveform, members, strict=True):
            assert (np.diff(row) == 1).all()
            starts.append((row[0] - 100 * utterance, source.num_samples[utterance] - len(row)))
    assert all(0 <= start <= slack for start, slack in starts)
    assert any(start > 0 for start, _ in starts)


def test_a_micro_batch_that_is_held_does_not_change():
    loader, _, _ = make_loader()
    held = [loader.load(index).waveform[1:] for index in range(4)]
    copies = [waveform.copy() for waveform in held]
    for index in range(4, 20):
        loader.load(index)
    assert all((waveform == copy).all() for waveform, copy in zip(held, copies, strict=True))


def test_crops_do_not_depend_on_who_loads_when():
    first, _, _ = make_loader()
    second, _, _ = make_loader()
    backwards = {index: second.load(index).waveform for index in reversed(range(6))}
    assert all((first.load(index).waveform == backwards[index]).all() for index in range(6))
    other, _, _ = make_loader(seed=2)
    assert any(
        first.load(i).waveform.shape != other.load(i).waveform.shape
        or (first.load(i).waveform != other.load(i).waveform).any()
        for i in range(6)
    )


def test_a_padded_micro_batch_holds_its_utterances_whole_and_zeros_after_them():
    _, plan, source = make_loader()
    # Ramps start anew at 1, so that no sample is the zero of the padding.
    source.crop = lambda index, start, count: np.arange(start + 1, start + 1 + count, dtype=np.int16)
    source.num_samples = np.minimum(source.num_samples, 80)
    loader = PaddedLoader(source, plan)
    unequal = 0
    for index in range(10):
        batch = loader.load(index)
        members = np.concatenate(plan.micro_batch(index).utterances)
        assert batch.lengths.tolist() == source.num_samples[members].tolist()
        assert batch.waveform.dtype == np.int16
        assert batch.waveform.shape == (len(members), batch.lengths.max())
        for row, length in zip(batch.waveform, batch.lengths, strict=True):
            assert row[:length].tolist() == list(range(1, length + 1))
            assert not row[length:].any()
        unequal += len(set(batch.lengths.tolist())) > 1
    assert unequal


def test_prefetching_keeps_order_and_bounds_what_is_in_flight():
    made: list[int] = []
    lock = threading.Lock()

    def make(index: int) -> int:
        with lock:
            made.append(index)
        return index * index

    prefetcher = Prefetcher(make, iter(range(50)), depth=3, threads=2)
    for expected in range(50):
        assert next(prefetcher) == expected * expected
        assert len(made) <= expected + 1 + 3
    with pytest.raises(StopIteration):
        next(prefetcher)
    prefetcher.close()


def test_an_error_while_making_surfaces_at_its_turn():
    def make(index: int) -> int:
        if index == 2:
            raise ValueError("item two")
        return index

    prefetcher = Prefetcher(make, range(5), depth=4)
    assert [next(prefetcher), next(prefetcher)] == [0, 1]
    with pytest.raises(ValueError, match="item two"):
        next(prefetcher)
    prefetcher.close()
