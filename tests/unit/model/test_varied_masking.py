"""Spans of varied lengths and spans apart, against a plain drawing of the same, and against what they promise."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from w2v2_ray.model.masking import span_mask
from w2v2_ray.model.varied_masking import draw_spans

DRAWS = 600
OPTIONS: list[dict[str, Any]] = [
    {"selection": "static", "no_overlap": True, "min_space": 1},
    {"selection": "static", "no_overlap": True, "min_space": 4},
    {"selection": "uniform", "other": 3.0},
    {"selection": "normal", "other": 2.5},
    {"selection": "poisson"},
    {"selection": "uniform", "other": 1.0, "no_overlap": True, "min_space": 2},
    {"selection": "poisson", "no_overlap": True},
]


def plain_row(rng: np.random.Generator, size: int, p: float, length: int, options: dict[str, Any]) -> set[int]:
    """The frames of one row, from the description of the options alone, with a list of free frames for spans apart."""
    count = max(2, int(np.floor(p * size / length + rng.uniform())))
    other = options.get("other", 0.0)
    lengths = {
        "static": lambda: length,
        "uniform": lambda: int(rng.integers(int(other), 2 * length + 1)),
        "normal": lambda: max(1, round(rng.normal(length, other))),
        "poisson": lambda: int(rng.poisson(length)),
    }
    spans = [lengths[options["selection"]]() for _ in range(count)]
    if not options.get("no_overlap"):
        starts = rng.permutation(size - min(spans))[:count]
        return {frame for start, n in zip(starts, spans, strict=True) for frame in range(start, min(start + n, size))}
    space = options.get("min_space", 1)
    free, masked = [range(size)], set[int]()
    for n in sorted(spans, reverse=True):
        wide = [part for part in free if len(part) > n and len(part) >= n + space]
        if not wide:
            break
        # A gap with probability proportional to its length: the gap of a frame drawn from all of theirs.
        frame = int(rng.choice([frame for part in wide for frame in part]))
        gap = next(part for part in wide if frame in part)
        start = int(rng.integers(gap[0], gap[-1] + 1 - n))
        masked |= set(range(start, start + n))
        left, right = range(gap[0], start - space + 1), range(start + n + space, gap[-1] + 1)
        free.remove(gap)
        free += [part for part, least in ((left, min(spans) + 1), (right, min(spans) + 1)) if len(part) >= least]
    return masked


def runs(row: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_masked_shares_and_runs_are_those_of_a_plain_drawing(options: dict[str, Any]) -> None:
    ours, plain = np.random.default_rng(1), np.random.default_rng(2)
    size, p, length = 150, 0.5, 6
    samples: list[tuple[list[float], list[float]]] = [([], []), ([], [])]
    for _ in range(DRAWS):
        drawn = draw_spans(ours, 1, size, p, length, 2, **options)[0]
        other = np.isin(np.arange(size), list(plain_row(plain, size, p, length, options)))
        for (shares, counts), row in zip(samples, (drawn, other), strict=True):
            shares.append(float(row.mean()))
            counts.append(float(len(runs(row))))
    for one, two in zip(*samples, strict=True):
        error = np.sqrt((np.var(one) + np.var(two)) / DRAWS)
        assert abs(np.mean(one) - np.mean(two)) < 4 * error
        assert np.std(one) == pytest.approx(np.std(two), rel=0.25)


@pytest.mark.parametrize("space", [0, 1, 3])
def test_spans_apart_keep_their_length_and_their_distance(space: int) -> None:
    for seed in range(100):
        mask = draw_spans(np.random.default_rng(seed), 1, 200, 0.5, 8, 2, no_overlap=True, min_space=space)[0]
        found = runs(mask)
        assert all((end - start) % 8 == 0 for start, end in found)  # without space two may touch
        assert all(right - left >= space for (_, left), (right, _) in pairwise(found))
        if space:
            assert {end - start for start, end in found} == {8}


def test_spans_of_different_lengths_without_space_between_them_never_share_a_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("w2v2_ray.model.varied_masking._span_lengths", lambda *_: np.asarray([9, 9, 4]))
    for seed in range(2000):
        mask = draw_spans(np.random.default_rng(seed), 1, 26, 0.5, 8, 2, no_overlap=True, min_space=0)
        assert mask.sum() in {9, 9 + 4, 9 + 9, 9 + 9 + 4}  # a shared frame makes it one less


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_row_has_as_many_and_nothing_beyond_its_end(options: dict[str, Any]) -> None:
    lengths = [90, 41, 12, 3]
    for seed in range(60):
        mask = draw_spans(np.random.default_rng(seed), 4, 90, 0.6, 5, 2, lengths=lengths, **options)
        assert len(set(mask.sum(1))) == 1
        assert mask.sum(1).min() >= 2  # the contrastive task needs another masked frame
        assert not any(row[length:].any() for row, length in zip(mask, lengths, strict=True))


def test_the_published_way_is_drawn_as_before_bit_for_bit() -> None:
    ours, before = (np.random.default_rng(5) for _ in range(2))
    for lengths in (None, [80, 60, 70]):
        assert np.array_equal(
            draw_spans(ours, 3, 80, 0.65, 10, 2, lengths=lengths),
            span_mask(before, 3, 80, 0.65, 10, 2, lengths=lengths),
        )
    assert ours.random() == before.random()


def test_no_span_is_asked_for_and_none_is_drawn() -> None:
    for selection in ("uniform", "normal", "poisson"):
        mask = draw_spans(np.random.default_rng(0), 2, 64, 0.0, 8, 0, selection=selection)  # type: ignore[arg-type]
        assert not mask.any()
