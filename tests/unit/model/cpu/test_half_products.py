from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from w2v2_ray.model.cpu import half_products
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.model.linear import Linear
from w2v2_ray.spec.model import ContrastiveLossSpec


@pytest.fixture(params=[False, True], ids=["loops", "instructions"])
def fast(request, monkeypatch):
    """A processor without, and one with instructions for bf16, whichever this is."""
    monkeypatch.setattr(half_products, "has_fast_bf16", lambda: request.param)
    return request.param


def test_a_torch_without_onednn_multiplies_in_loops(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", None)
    assert half_products.has_fast_bf16.__wrapped__() is False


def test_only_bf16_on_such_a_processor_is_widened(fast):
    assert half_products.to_be_widened(torch.ones(2, dtype=torch.bfloat16)) == (not fast)
    assert not half_products.to_be_widened(torch.ones(2))
    assert not half_products.to_be_widened(torch.ones(2, dtype=torch.float16))
    assert not half_products.to_be_widened(torch.ones(2, dtype=torch.bfloat16, device="meta"))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 24), (2, 3, 24)])
def test_a_product_and_its_gradients_are_those_of_fp32_rounded_once(fast, bias, shape):
    torch.manual_seed(0)
    linear = Linear(24, 7, bias=bias).to(torch.bfloat16)
    x = torch.randn(shape).to(torch.bfloat16).requires_grad_()
    linear(x).backward(grad := torch.randn(*shape[:-1], 7).to(torch.bfloat16))
    wide = [t.detach().float().requires_grad_() for t in (x, *linear.parameters())]
    expected = F.linear(*wide)
    expected.backward(grad.float())
    torch.testing.assert_close(linear(x), expected.to(torch.bfloat16), rtol=0.008, atol=0)
    for found, exact in zip((x, *linear.parameters()), wide, strict=True):
        assert found.grad.dtype == torch.bfloat16
        torch.testing.assert_close(found.grad, exact.grad.to(torch.bfloat16), rtol=0.008, atol=0.008)


def test_what_needs_no_gradient_gets_none_and_nothing_wide_is_kept(fast):
    linear = Linear(24, 7).to(torch.bfloat16)
    linear.weight.requires_grad_(False)
    kept = []
    with saved_tensors_hooks(lambda t: (kept.append(t.dtype), t)[1], lambda t: t):
        out = linear(torch.randn(3, 24).to(torch.bfloat16))
    out.sum().backward()
    assert linear.weight.grad is None
    assert linear.bias.grad.tolist() == [3.0] * 7
    assert set(kept) <= {torch.bfloat16}


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_model_in_bf16_computes_on_either_processor_what_it_does_in_fp32(small_spec, micro_batch, fast, dropout):
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = build_pretrain_model(small_spec(dropout), ContrastiveLossSpec(negatives=6)).to(dtype).train()
        torch.manual_seed(1)
        loss = model(*micro_batch, gumbel_temperature=2.0).loss_sum
        loss.backward()
        gradients = torch.cat([parameter.grad.float().flatten() for parameter in model.parameters()])
        found[dtype] = float(loss.detach()), gradients
    exact, rounded = found[torch.float32], found[torch.bfloat16]
    assert rounded[0] == pytest.approx(exact[0], rel=0.01)
    assert F.cosine_similarity(exact[1], rounded[1], dim=0) > 0.95
