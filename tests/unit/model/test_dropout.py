from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from w2v2_ray.model.cpu import dropping
from w2v2_ray.model.dropout import dropout


def test_a_share_is_dropped_and_what_stays_is_scaled_so_that_the_mean_does():
    torch.manual_seed(0)
    out = dropout(torch.ones(200, 1001, requires_grad=True), 0.1, True)
    kept = out != 0
    assert kept.double().mean().item() == pytest.approx(0.9, abs=0.003)
    assert torch.unique(out[kept]).tolist() == pytest.approx([1 / 0.9], rel=1e-4)
    assert out.mean().item() == pytest.approx(1.0, abs=0.003)


def test_neighbours_are_dropped_independently_of_each_other():
    torch.manual_seed(1)
    kept = (dropout(torch.ones(400_000, requires_grad=True), 0.5, True) != 0).double()
    for lag in (1, 2, 3, 4, 5):
        assert (kept[lag:] * kept[:-lag]).mean().item() == pytest.approx(0.25, abs=0.004)


def test_the_gradient_passes_where_the_forward_pass_kept_and_nothing_is_saved():
    torch.manual_seed(3)
    x = torch.randn(7, 13, dtype=torch.float64, requires_grad=True)
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t), t)[1], lambda t: t):
        out = dropout(x, 0.3, True)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(gradient * x.detach(), out.detach())
    assert not saved
    assert 0 < int((gradient == 0).sum()) < x.numel()


def test_the_seed_of_torch_decides_what_is_dropped():
    x = torch.ones(1000, requires_grad=True)
    outcomes = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outcomes.append(dropout(x, 0.5, True).detach())
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


@pytest.mark.parametrize(("probability", "active"), [(0.0, True), (0.5, False)])
def test_where_nothing_is_to_be_dropped_nothing_is_drawn(probability, active):
    state = torch.random.get_rng_state()
    x = torch.randn(3, requires_grad=True, generator=torch.Generator().manual_seed(0))
    assert dropout(x, probability, active) is x
    assert torch.equal(torch.random.get_rng_state(), state)


def test_without_gradients_it_is_the_dropout_of_torch():
    x = torch.randn(50)
    torch.manual_seed(9)
    expected = F.dropout(x, 0.4)
    torch.manual_seed(9)
    with torch.no_grad():
        assert torch.equal(dropout(x, 0.4, True), expected)


def test_no_probability_below_one_drops_everything():
    assert dropping.kept((1 << 20,), torch.float32, 1 - 1e-9, dropping.generator(0)).sum() > 0
