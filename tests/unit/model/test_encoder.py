from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from model_helpers import HOURGLASS

from w2v2_ray.model.attention import SelfAttention, attention_mask
from w2v2_ray.model.factory import build_encoder
from w2v2_ray.model.hourglass import HourglassStack
from w2v2_ray.model.layer import TransformerLayer
from w2v2_ray.model.stack import LayerStack
from w2v2_ray.spec.model import ModelSpec

SpecBuilder = Callable[..., ModelSpec]
KINDS = [{}, {"norm_first": True}, {"hourglass": HOURGLASS}, {"hourglass": HOURGLASS | {"resample": "linear"}}]


def test_attention_equals_the_formula_with_padding_left_out() -> None:
    attention = SelfAttention(8, 2)
    x = torch.randn(1, 6, 8)
    padding = torch.tensor([[False] * 4 + [True] * 2])
    q, k, v = (part.view(1, 6, 2, 4).transpose(1, 2) for part in attention.qkv(x).chunk(3, dim=2))
    weights = ((q @ k[:, :, :4].transpose(2, 3)) / 2.0).softmax(3)
    expected = attention.out_proj((weights @ v[:, :, :4]).transpose(1, 2).reshape(1, 6, 8))
    torch.testing.assert_close(attention(x, attention_mask(padding)), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 7, 12, 13])
def test_every_length_comes_out_as_long_as_it_went_in(
    kind: dict[str, Any], frames: int, small_spec: SpecBuilder
) -> None:
    encoder = build_encoder(small_spec(**kind).encoder)
    out = encoder(torch.randn(2, frames, 24))
    assert out.shape == (2, frames, 24)
    assert out.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("valid", [1, 5, 6, 7])
def test_padding_changes_no_valid_frame(kind: dict[str, Any], valid: int, small_spec: SpecBuilder) -> None:
    torch.manual_seed(valid)
    encoder = build_encoder(small_spec(**kind).encoder).eval()
    x = torch.randn(2, 14, 24)
    padding = torch.arange(14) >= torch.tensor([[14], [valid]])
    out = encoder(x, padding)
    torch.testing.assert_close(out[1, :valid], encoder(x[1:, :valid])[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out[0], encoder(x[:1])[0], rtol=1e-4, atol=1e-5)


def test_a_short_frame_is_padding_only_if_all_its_frames_are(small_spec: SpecBuilder) -> None:
    stack = build_encoder(small_spec(hourglass=HOURGLASS).encoder).stack
    assert isinstance(stack, HourglassStack)
    padding = torch.tensor([[False] * 4 + [True] * 3])
    x = torch.arange(1.0, 8.0).view(1, 7, 1).expand(1, 7, 24)
    short, short_mask = stack._shorten(x, padding)
    assert short_mask is not None
    assert short_mask.tolist() == [[False, False, True]]
    torch.testing.assert_close(short[0, :, 0], torch.tensor([2.0, 4.0 / 3.0, 0.0]))


def test_the_hourglass_is_the_residual_of_what_its_parts_compute(small_spec: SpecBuilder) -> None:
    stack = build_encoder(small_spec(hourglass=HOURGLASS).encoder).stack
    assert isinstance(stack, HourglassStack)
    x = torch.randn(2, 8, 24)
    r = stack.pre(x)
    pooled = F.avg_pool1d(F.pad(r, (0, 0, 0, 1)).transpose(1, 2), 3).transpose(1, 2)
    up = stack.middle(pooled).repeat_interleave(3, dim=1)[:, :8]
    torch.testing.assert_close(stack(x), stack.post(up + r))


def test_the_middle_is_as_loud_at_first_as_it_is_asked_to_be(small_spec: SpecBuilder) -> None:
    models = []
    for gain in (1.0, 0.1):
        torch.manual_seed(0)
        models.append(build_encoder(small_spec(hourglass=HOURGLASS | {"initial_gain": gain}).encoder))
    loud, quiet = (encoder.stack for encoder in models)
    assert isinstance(loud, HourglassStack)
    assert isinstance(quiet, HourglassStack)
    x = torch.randn(2, 9, 24)
    torch.testing.assert_close(quiet.middle(x), 0.1 * loud.middle(x))
    different = [n for (n, a), b in zip(loud.named_parameters(), quiet.parameters(), strict=True) if not a.equal(b)]
    assert different == [f"middle.layers.{HOURGLASS['middle_layers'] - 1}.ffn_norm.weight"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_both_layer_drop_modes_give_the_same_output_and_gradients(
    kind: dict[str, Any], dropout: float, checkpointing: bool, small_spec: SpecBuilder
) -> None:
    encoder = build_encoder(small_spec(dropout, **kind).encoder, activation_checkpointing=checkpointing)
    x = torch.randn(2, 9, 24)
    results = {}
    for mode in ("skip", "run_and_discard"):
        encoder.zero_grad()
        encoder.stack.layer_drop_mode = mode
        torch.manual_seed(0)
        out = encoder(x, layer_keep=[True, False, True, False])
        out.square().sum().backward()
        gradients = {name: p.grad for name, p in encoder.named_parameters()}
        assert all(gradient is not None for gradient in gradients.values())
        results[mode] = out, gradients
    (a, grads_a), (b, grads_b) = results.values()
    assert torch.equal(a, b)
    assert all(torch.equal(grads_a[name], grads_b[name]) for name in grads_a)
    zero = [name for name, gradient in grads_a.items() if not gradient.any()]
    dropped = [name for name in grads_a if "stack" in name and ".linear" not in name]
    assert set(zero) <= set(dropped)
    assert sum(name.endswith("ffn_in.weight") for name in zero) == 2


def test_dropping_layers_equals_a_stack_without_them() -> None:
    stack = LayerStack(TransformerLayer(8, 16, 2) for _ in range(3))
    x = torch.randn(1, 5, 8)
    expected = stack.layers[2](stack.layers[0](x))
    assert torch.equal(stack(x, layer_keep=[True, False, True]), expected)


def test_a_layer_keep_of_the_wrong_length_is_refused(small_spec: SpecBuilder) -> None:
    encoder = build_encoder(small_spec(hourglass=HOURGLASS).encoder)
    with pytest.raises(ValueError, match="3 entries for 4 layers"):
        encoder(torch.randn(1, 5, 24), layer_keep=[True] * 3)


def test_activation_checkpointing_changes_no_gradient_with_dropout_on(small_spec: SpecBuilder) -> None:
    encoder = build_encoder(small_spec(0.2, hourglass=HOURGLASS).encoder)
    x = torch.randn(2, 9, 24)
    gradients = []
    for enabled in (False, True):
        encoder.set_activation_checkpointing(enabled)
        encoder.zero_grad()
        torch.manual_seed(3)
        encoder(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_the_hourglass_refuses_prenorm_layers_and_a_factor_of_one() -> None:
    def stack(norm_first: bool) -> LayerStack:
        return LayerStack([TransformerLayer(8, 16, 2, norm_first=norm_first)])

    with pytest.raises(ValueError, match="post-norm"):
        HourglassStack(stack(True), stack(True), stack(True), shorten_factor=2, dim=8)
    with pytest.raises(ValueError, match="shorten_factor: 1"):
        HourglassStack(stack(False), stack(False), stack(False), shorten_factor=1, dim=8)


def test_linear_maps_of_the_encoder_start_at_a_deviation_of_002(small_spec: SpecBuilder) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(small_spec(hourglass=HOURGLASS | {"resample": "linear"}).encoder)
    weights = [m.weight.flatten() for m in encoder.stack.modules() if isinstance(m, torch.nn.Linear)]
    assert len(weights) == 4 * 4 + 2
    assert torch.cat(weights).std().item() == pytest.approx(0.02, rel=0.03)
