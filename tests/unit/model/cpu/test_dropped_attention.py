from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from w2v2_ray.model.attention import SelfAttention
from w2v2_ray.model.cpu.dropped_attention import dropped_attention
from w2v2_ray.model.layer import TransformerLayer

B, T, H, D = 3, 11, 2, 4


def inputs() -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randn(B, T, 3, H, D, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("padded", [False, True])
def test_with_next_to_no_dropout_it_is_the_attention_of_torch(padded):
    qkv = inputs()
    mask = torch.arange(T) < torch.tensor([[T], [7], [4]]) if padded else None
    mask = None if mask is None else mask[:, None, None]
    weights = torch.randn(B, T, H, D, dtype=torch.float64)
    found = dropped_attention(qkv, mask, 1e-15)
    (gradient,) = torch.autograd.grad((found * weights).sum(), qkv)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), qkv)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_the_backward_pass_drops_what_the_forward_pass_dropped():
    qkv = inputs()[:2, :4].detach().requires_grad_()

    def seeded(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return dropped_attention(x, None, 0.4)

    assert torch.autograd.gradcheck(seeded, (qkv,))


def test_the_same_seed_drops_the_same_and_another_seed_something_else():
    qkv = inputs()
    outcomes = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outcomes.append(dropped_attention(qkv, None, 0.5).detach())
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


def test_a_share_of_the_weights_is_dropped_and_their_mean_stays():
    torch.manual_seed(0)
    qkv = torch.zeros(2, 200, 3, 4, 1)
    qkv[:, :, 2] = 1.0
    # All weights are 1/200: an output is the share that is kept, over what is expected of it.
    out = dropped_attention(qkv, None, 0.25)
    assert out.mean().item() == pytest.approx(1.0, abs=0.01)
    assert (out * 0.75).var().item() == pytest.approx(0.25 * 0.75 / 200, rel=0.15)


def test_attention_in_training_keeps_nothing_larger_than_queries_keys_and_values():
    attention = SelfAttention(8, 2, dropout=0.1).train()
    x = torch.randn(2, 60, 8, requires_grad=True)
    kept: dict[int, int] = {}

    def note(t: torch.Tensor) -> torch.Tensor:
        kept[t.untyped_storage().data_ptr()] = t.numel()
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        attention(x)
    assert max(kept.values()) == 2 * 60 * 24


def test_the_widest_activation_computed_again_gives_the_same_gradients():
    layer = TransformerLayer(8, 32, 2)
    x = torch.randn(2, 9, 8, requires_grad=True)
    layer._feed_forward(x, True, True).square().sum().backward()
    found = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    layer.zero_grad()
    x_again = x.detach().requires_grad_()
    layer.ffn_out(F.gelu(layer.ffn_in(x_again))).square().sum().backward()
    assert found
    for name, gradient in found.items():
        assert torch.equal(gradient, dict(layer.named_parameters())[name].grad)
    assert torch.equal(x.grad, x_again.grad)


def test_dropout_that_is_switched_off_draws_nothing():
    attention = SelfAttention(8, 2, dropout=0.5).train()
    state = torch.random.get_rng_state()
    attention(torch.randn(0, 3, 8), None, use_dropout=False)
    assert torch.equal(torch.random.get_rng_state(), state)
