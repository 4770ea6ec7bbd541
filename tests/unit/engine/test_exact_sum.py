"""A sum of gradients in which order cannot matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from w2v2_ray.engine.exact_sum import GRID_BITS, ExactSum

SHAPES = ((64, 3), (17,))


def gradients(seed: int, scale: float = 1.0) -> list[Tensor]:
    """Values over many magnitudes, so that fp32 additions in another order differ."""
    generator = torch.Generator().manual_seed(seed)
    return [
        scale * torch.randn(shape, generator=generator) * 10.0 ** torch.randint(-6, 1, shape, generator=generator)
        for shape in SHAPES
    ]


def summed(terms: list[list[Tensor]], factor: float = 1.0) -> tuple[list[Tensor], float]:
    sums = ExactSum([torch.empty(shape) for shape in SHAPES])
    for term in terms:
        sums.add(term, factor)
    targets = [torch.full(shape, math.nan) for shape in SHAPES]
    return targets, sums.reduce_into(targets, max(1, len(terms)))


def test_the_order_of_the_terms_does_not_matter_although_it_does_in_fp32():
    terms = [gradients(seed) for seed in range(40)]
    forwards, norm = summed(terms)
    backwards, same_norm = summed(terms[::-1])
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert norm == same_norm
    in_fp32 = [sum(part[0] for part in order) for order in (terms, terms[::-1])]
    assert not torch.equal(*in_fp32)


def test_the_sum_is_that_of_double_precision_rounded_to_fp32_up_to_the_grid():
    terms = [gradients(seed) for seed in range(40)]
    totals, norm = summed(terms)
    for index, total in enumerate(totals):
        wanted = torch.stack([term[index].double() for term in terms]).sum(0)
        error = (total.double() - wanted).abs()
        assert bool((error <= wanted.abs() * 2.0**-24 + len(terms) * 2.0 ** -(GRID_BITS + 1)).all())
    assert norm == pytest.approx(math.sqrt(sum(float(t.double().pow(2).sum()) for t in totals)), rel=1e-6)


def test_a_term_may_lack_gradients_and_be_of_low_precision():
    first, second = gradients(1), [part.bfloat16() for part in gradients(2)]
    (weight, bias), _ = summed([[first[0], None], [None, second[1]]])
    assert torch.allclose(weight, first[0], rtol=0, atol=2.0**-GRID_BITS)
    assert torch.allclose(bias, second[1].float(), rtol=0, atol=2.0**-GRID_BITS)


def test_a_factor_unscales_what_a_loss_scale_enlarged():
    plain, norm = summed([gradients(3)])
    scaled, same_norm = summed([gradients(3, scale=1024.0)], factor=2.0**-10)
    assert all(torch.equal(a, b) for a, b in zip(plain, scaled, strict=True))
    assert norm == same_norm


def test_nothing_at_all_sums_to_zero():
    totals, norm = summed([])
    assert norm == 0.0
    assert all(not bool(total.any()) for total in totals)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 2.0**14])
def test_a_gradient_that_is_not_finite_or_beyond_the_range_makes_the_norm_infinite(bad: float):
    terms = [gradients(1), gradients(2)]
    terms[0][1][3] = bad
    assert summed(terms)[1] == math.inf


def test_a_bad_update_leaves_nothing_behind():
    sums = ExactSum([torch.empty(shape) for shape in SHAPES])
    sums.add([torch.full(shape, math.nan) for shape in SHAPES])
    targets = [torch.empty(shape) for shape in SHAPES]
    assert sums.reduce_into(targets, 1) == math.inf
    sums.add(gradients(5))
    assert sums.reduce_into(targets, 1) < math.inf
    assert all(torch.equal(a, b) for a, b in zip(targets, summed([gradients(5)])[0], strict=True))
