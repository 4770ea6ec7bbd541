"""Micro-batches made ahead when plans change, and sums that pass through whole numbers as they are."""

from __future__ import annotations

import math
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from w2v2_ray.training.crews.ahead import Ahead
from w2v2_ray.training.crews.living import Rows


@pytest.fixture
def made() -> list[int]:
    return []


@pytest.fixture
def ahead(made):
    def make(index: int) -> int:
        made.append(index)
        return index * index

    found = Ahead(make, depth=2)
    yield found
    found.close()


def test_what_is_expected_is_made_in_order_and_once(ahead, made):
    ahead.expect([3, 4, 5, 6])
    assert [ahead.get(index) for index in (3, 4, 5, 6)] == [9, 16, 25, 36]
    assert made == [3, 4, 5, 6]


def test_a_changed_plan_keeps_what_it_still_wants(ahead, made):
    ahead.expect([1, 2])
    assert ahead.get(1) == 1
    ahead.expect([2, 9])
    assert [ahead.get(index) for index in (2, 9)] == [4, 81]
    assert made == [1, 2, 9]


def test_what_was_not_expected_is_made_when_asked_for(ahead):
    ahead.expect([1])
    assert ahead.get(7) == 49
    assert ahead.get(1) == 1


def test_no_more_than_its_depth_is_made_ahead():
    made, enough = [], threading.Event()

    def make(index: int) -> int:
        made.append(index)
        if len(made) == 2:
            enough.set()
        return index

    ahead = Ahead(make, depth=2)
    ahead.expect(range(10))
    assert enough.wait(10)
    ahead.close()
    assert made == [0, 1]


def test_an_error_surfaces_where_it_is_asked_for():
    def make(index: int) -> int:
        raise ValueError(f"shard of {index}")

    ahead = Ahead(make, depth=1)
    ahead.expect([4])
    with pytest.raises(ValueError, match="shard of 4"):
        ahead.get(4)
    ahead.close()


TASK: Any = SimpleNamespace(sums=("loss", "frames"))
FIGURES = {10: (0.1, 3.0), 11: (math.pi * 1e-30, 4.0), 12: (-1e300, 0.0)}


def rows_of(*items: int) -> Rows:
    rows = Rows(TASK, [10, 11, 12], torch.device("cpu"))
    for item in items:
        rows.fill(item, torch.tensor(FIGURES[item], dtype=torch.float64))
    return rows


@pytest.mark.parametrize("shares", [[(10, 11, 12)], [(10,), (12, 11)], [(12,), (), (11,), (10,)]])
def test_totals_are_the_same_bits_whoever_filled_which_row(shares):
    bits = sum(rows_of(*share).bits for share in shares)
    expected = {"loss": 0.1 + math.pi * 1e-30 + -1e300, "frames": 7.0}
    assert rows_of().totals(bits) == expected


@pytest.mark.parametrize("shares", [[(10, 11)], [(10, 11, 12), (11,)]], ids=["one is missing", "one came twice"])
def test_a_row_that_was_not_filled_once_is_an_error(shares):
    bits = sum(rows_of(*share).bits for share in shares)
    with pytest.raises(RuntimeError, match="not once each"):
        rows_of().totals(bits)


def test_not_a_number_stays_what_it_is():
    rows = rows_of(10, 11)
    rows.fill(12, torch.tensor([math.nan, 1.0], dtype=torch.float64))
    assert math.isnan(rows.totals(rows.bits)["loss"])
