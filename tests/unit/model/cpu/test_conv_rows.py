"""The row-wise encoder against the modules it stands for, in fp64 where nothing but the formula can differ."""

from __future__ import annotations

import pytest
import torch

from w2v2_ray.model import feature_encoder
from w2v2_ray.model.feature_encoder import FeatureEncoder

LAYERS = [(8, 10, 5), (8, 3, 2), (6, 2, 2), (7, 2, 3), (5, 5, 2)]
"""Kernels shorter than, as long as and much longer than their strides."""


def encoder(mode: str, bias: bool) -> FeatureEncoder:
    torch.manual_seed(4)
    made = FeatureEncoder(LAYERS, mode, bias=bias).double()  # type: ignore[arg-type]
    for name, parameter in made.named_parameters():
        if "norm" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0.5)
    return made


def outcome(model: FeatureEncoder, waveform: torch.Tensor, lengths: torch.Tensor | None):
    model.zero_grad()
    features = model(waveform, lengths)
    weights = torch.linspace(-1, 1, features.numel(), dtype=features.dtype).view(features.shape)
    (features * weights).sum().backward()
    return features.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("lengths", [None, [700, 431, 99]])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
def test_features_and_every_gradient_are_those_of_the_modules(mode, bias, lengths, monkeypatch):
    model = encoder(mode, bias)
    waveform = torch.randn(3, 700, dtype=torch.float64) + 0.3
    given = None if lengths is None else torch.tensor(lengths)
    by_rows = outcome(model, waveform, given)
    monkeypatch.setattr(FeatureEncoder, "_by_rows", lambda self, waveform: False)
    by_modules = outcome(model, waveform, given)
    # With lengths the modules' group norm computes its statistics in fp32.
    tolerance = 1e-9 if lengths is None else 1e-4
    torch.testing.assert_close(by_rows[0], by_modules[0], rtol=tolerance, atol=tolerance)
    for name, gradient in by_modules[1].items():
        torch.testing.assert_close(by_rows[1][name], gradient, rtol=tolerance, atol=tolerance, msg=name)


def test_without_gradients_the_features_are_the_same_and_nothing_is_kept():
    model = encoder("group_norm", bias=False)
    waveform = torch.randn(2, 500, dtype=torch.float64)
    with torch.no_grad():
        alone = model(waveform)
    kept = model(waveform)
    assert not alone.requires_grad
    assert kept.requires_grad
    assert torch.equal(alone, kept)


def test_an_utterance_is_encoded_the_same_in_any_company():
    model = encoder("layer_norm", bias=True).float()
    waveform = torch.randn(4, 600)
    assert torch.equal(model(waveform)[2:3], model(waveform[2:3]))


def test_far_less_is_kept_for_the_backward_pass_than_by_the_modules(monkeypatch):
    model = FeatureEncoder(LAYERS)
    waveform = torch.randn(2, 4_000)

    def kept_elements() -> int:
        found: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (found.__setitem__(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes() // 4), t)[1],
            lambda t: t,
        ):
            model(waveform)
        return sum(found.values())

    by_rows = kept_elements()
    monkeypatch.setattr(FeatureEncoder, "_by_rows", lambda self, waveform: False)
    assert by_rows < 0.75 * kept_elements()
    monkeypatch.setattr(feature_encoder, "recomputed", lambda module, x, again: module(x))
    assert by_rows < 0.4 * kept_elements()


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_sixteen_bits_stay_close_to_thirty_two(dtype):
    model = FeatureEncoder(LAYERS)
    waveform = torch.randn(2, 2_000)
    exact = model(waveform)
    exact.sum().backward()
    gradient = model.blocks[0].conv.weight.grad.clone()
    model.zero_grad()
    rounded = model.to(dtype)(waveform)
    assert rounded.dtype == dtype
    rounded.sum().backward()
    found = model.blocks[0].conv.weight.grad.float()
    assert (rounded.float() - exact).abs().max() < 0.02 * exact.abs().max()
    assert (found - gradient).abs().max() < 0.05 * gradient.abs().max()
