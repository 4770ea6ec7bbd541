from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2v2_ray.data.batch_plan import BatchPlan, assigned, batch_by_size
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.errors import DatasetError


def make_plan(lengths, *, concat=1, seed=1, max_tokens=1000, size_multiple=8, min_samples=10, max_samples=400, **more):
    return BatchPlan(
        np.asarray(lengths),
        max_tokens=max_tokens,
        size_multiple=size_multiple,
        concat=concat,
        min_samples=min_samples,
        max_samples=max_samples,
        streams=RandomStreams(seed),
        **more,
    )


@pytest.mark.parity
@pytest.mark.shared
def test_batches_equal_the_references(shared_dir: Path):
    cases = json.loads((shared_dir / "golden" / "recipe.json").read_text())["batch_by_size"]
    assert len(cases) >= 4
    for case in cases:
        order = np.asarray(case["order"])
        offsets = batch_by_size(np.asarray(case["sizes"])[order], case["max_tokens"], case["size_multiple"])
        ours = [order[a:b].tolist() for a, b in itertools.pairwise(offsets)]
        assert ours == case["batches"]


def test_batches_follow_the_recorded_example():
    # Numbers of the reference: 15 utterances at most 1.4M samples, multiples of 8 where possible.
    sizes = np.asarray([250000] * 3 + [150000] * 20)
    offsets = batch_by_size(sizes, 1_400_000, 8)
    assert np.diff(offsets).tolist() == [5, 8, 8, 2]


@given(
    sizes=st.lists(st.integers(1, 100), min_size=1, max_size=80),
    max_tokens=st.integers(100, 600),
    multiple=st.sampled_from([1, 2, 8]),
    most=st.sampled_from([None, 1, 4, 8, 12]),
)
@settings(max_examples=300, deadline=None)
def test_the_fast_cut_of_sorted_lengths_equals_the_general_one(sizes, max_tokens, multiple, most):
    """fairseq's `batch_by_size`, `max_sentences` included: a batch is full when it has so many."""
    ordered = np.sort(np.asarray(sizes))[::-1]
    fast = batch_by_size(ordered, max_tokens, multiple, most)
    batches = [0]
    start, longest, i = 0, 0, 0
    while i < len(ordered):
        grown = max(longest, int(ordered[i]))
        if i > start and (grown * (i - start + 1) > max_tokens or i - start == most):
            count = i - start
            start += max(multiple * (count // multiple), count % multiple)
            batches.append(start)
            longest = max(ordered[start:i], default=0)
        else:
            longest, i = grown, i + 1
    while start < len(ordered):
        count = len(ordered) - start
        start += max(multiple * (count // multiple), count % multiple)
        batches.append(start)
    assert fast.tolist() == batches
    assert most is None or max(np.diff(batches)) <= most


@pytest.mark.parametrize("most", [1, 4, 8, 12])
def test_unsorted_lengths_are_cut_at_the_most_utterances_too(most):
    sizes = np.random.default_rng(0).integers(1, 20, 100)
    counts = np.diff(batch_by_size(sizes, 1_000, 4, most))
    assert counts.sum() == 100
    assert max(counts) == min(most, most // 4 * 4 or most)


@given(
    lengths=st.lists(st.integers(1, 700), min_size=1, max_size=120).filter(lambda v: max(v) >= 10),
    concat=st.integers(1, 7),
    seed=st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_every_utterance_is_used_exactly_once_per_epoch(lengths, concat, seed):
    plan = make_plan(lengths, concat=concat, seed=seed)
    epochs = 3
    micro_batches = -(-plan.sub_batches_per_epoch * epochs // concat)
    used: Counter[tuple[int, int]] = Counter()
    for index in range(micro_batches):
        batch = plan.micro_batch(index)
        for epoch, part in zip(batch.epochs, batch.utterances, strict=True):
            used.update((epoch, int(u)) for u in part)
            assert all(min(lengths[u], 400) >= batch.crop_samples for u in part)
            assert len(part) * batch.crop_samples <= 1000
    kept = [u for u, n in enumerate(lengths) if n >= 10]
    wanted = Counter((epoch, u) for epoch in range(epochs) for u in kept)
    assert {key: n for key, n in used.items() if key[0] < epochs} == dict(wanted)


def test_the_plan_depends_on_seed_and_epoch_and_on_nothing_else():
    lengths = np.random.default_rng(0).integers(50, 400, 500)
    one, same, other = make_plan(lengths), make_plan(lengths), make_plan(lengths, seed=2)

    def stream(plan, start):
        return [np.concatenate(plan.micro_batch(i).utterances).tolist() for i in range(start, start + 20)]

    n = one.sub_batches_per_epoch
    # Asked in another order, the answers stay the same.
    later = stream(same, n)
    assert stream(one, 0) == stream(same, 0)
    assert stream(one, n) == later
    assert stream(one, 0) != stream(other, 0)
    assert stream(one, 0) != later


def test_neighbours_in_length_share_a_micro_batch():
    lengths = np.random.default_rng(0).integers(50, 400, 2000)
    plan = make_plan(lengths, concat=4)
    batches = [plan.micro_batch(i) for i in range(plan.sub_batches_per_epoch // 4)]
    kept = sum(sum(b.sub_batch_sizes) * b.crop_samples for b in batches)
    whole = sum(int(lengths[np.concatenate(b.utterances)].sum()) for b in batches)
    assert kept > 0.9 * whole


@given(
    utterances=st.lists(st.tuples(st.integers(1, 400), st.booleans()), min_size=1, max_size=120).filter(
        lambda drawn: any(length >= 10 and usable for length, usable in drawn)
    ),
    concat=st.integers(1, 7),
)
@settings(max_examples=100, deadline=None)
def test_usable_utterances_alone_are_used_and_each_once_per_epoch(utterances, concat):
    lengths, usable = (np.asarray(column) for column in zip(*utterances, strict=True))
    plan = make_plan(lengths, concat=concat, usable=usable)
    used: Counter[tuple[int, int]] = Counter()
    for index in range(-(-plan.sub_batches_per_epoch * 2 // concat)):
        batch = plan.micro_batch(index)
        for epoch, part in zip(batch.epochs, batch.utterances, strict=True):
            used.update((epoch, int(u)) for u in part)
    wanted = np.flatnonzero(usable & (lengths >= 10)).tolist()
    assert plan.utterances_per_epoch == len(wanted)
    assert {key: n for key, n in used.items() if key[0] < 2} == {(e, u): 1 for e in range(2) for u in wanted}


@given(
    lengths=st.lists(st.integers(10, 400), min_size=1, max_size=120),
    concat=st.integers(1, 7),
    multiple=st.sampled_from([1, 8]),
)
@settings(max_examples=100, deadline=None)
def test_a_micro_batch_is_padded_to_its_longest_and_cropped_to_its_shortest(lengths, concat, multiple):
    plan = make_plan(lengths, concat=concat, size_multiple=multiple)
    for index in range(-(-plan.sub_batches_per_epoch * 2 // concat)):
        batch = plan.micro_batch(index)
        members = [lengths[u] for u in np.concatenate(batch.utterances)]
        assert (batch.padded_samples, batch.crop_samples) == (max(members), min(members))
        # Padded, each sub-batch is within what the device was planned for.
        assert all(len(part) * max(lengths[u] for u in part) <= 1000 for part in batch.utterances)


def test_a_mask_that_leaves_all_in_changes_no_draw():
    lengths = np.random.default_rng(0).integers(50, 400, 300)
    bare, masked = make_plan(lengths, concat=3), make_plan(lengths, concat=3, usable=np.ones(300, dtype=np.bool_))
    for index in range(2 * bare.sub_batches_per_epoch // 3):
        one, other = bare.micro_batch(index), masked.micro_batch(index)
        assert [part.tolist() for part in one.utterances] == [part.tolist() for part in other.utterances]


def test_a_dataset_of_short_utterances_is_refused_with_the_remedy():
    with pytest.raises(DatasetError, match=r"none of the 3 utterances has min_samples: 10 .*the longest has 9"):
        make_plan([5, 9, 7])


def test_a_corpus_of_short_words_is_told_a_limit_that_keeps_most_of_it():
    lengths = [*range(2_000, 6_000, 10), 9_000]
    with pytest.raises(DatasetError, match=r"--set batch\.min_samples=2400 keeps 361 of them") as caught:
        make_plan(lengths, min_samples=32_000, max_samples=64_000, max_tokens=64_000)
    assert "none of the 401 utterances has min_samples: 32000" in caught.value.message
    make_plan(lengths, min_samples=2_400, max_samples=64_000, max_tokens=64_000)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 5))
def test_any_number_of_workers_shares_an_update_evenly(per_update, world_size, update):
    shares = [assigned(per_update, update, rank, world_size) for rank in range(world_size)]
    assert [m for share in shares for m in share] == list(range((update - 1) * per_update, update * per_update))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("concat", [1, 3])
def test_a_curriculum_goes_from_short_to_long_and_then_shuffles(concat):
    lengths = np.random.default_rng(1).integers(10, 400, 300)
    plan = make_plan(lengths, concat=concat, curriculum_epochs=2)
    plain = make_plan(lengths, concat=concat)
    per_epoch = plan.sub_batches_per_epoch // concat
    for epoch in range(4):
        inner = range(epoch * per_epoch + 2, (epoch + 1) * per_epoch - 2)
        longest = [plan.micro_batch(index).padded_samples for index in inner]
        if epoch < 2:
            assert longest == sorted(longest)
        else:
            assert longest != sorted(longest)
    late = 3 * per_epoch
    assert [u.tolist() for u in plan.micro_batch(late).utterances] == [
        u.tolist() for u in plain.micro_batch(late).utterances
    ]
    used = Counter(
        (epoch, int(u))
        for index in range(2 * per_epoch + 2)
        for epoch, part in zip(plan.micro_batch(index).epochs, plan.micro_batch(index).utterances, strict=True)
        for u in part
    )
    assert all(used[epoch, u] == 1 for epoch in range(2) for u in range(300))
