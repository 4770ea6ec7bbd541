from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks

from w2v2_ray.model import feature_encoder
from w2v2_ray.model.feature_encoder import ChannelwiseGroupNorm, FeatureEncoder, num_frames, num_frames_tensor

BASE = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
SMALL = [(8, 10, 5), (8, 3, 2), (6, 2, 2)]


@pytest.mark.parametrize(("samples", "frames"), [(16_000, 49), (400, 1), (399, 0), (0, 0), (250_000, 781)])
def test_the_base_encoder_makes_one_frame_of_20_ms(samples: int, frames: int) -> None:
    assert num_frames(samples, BASE) == frames


def test_frames_of_a_tensor_of_lengths_are_those_of_each_length() -> None:
    lengths = list(range(0, 2_000, 7))
    assert num_frames_tensor(torch.tensor(lengths), BASE).tolist() == [num_frames(n, BASE) for n in lengths]


@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
def test_features_are_time_major_with_the_promised_number_of_frames(mode: str) -> None:
    encoder = FeatureEncoder(SMALL, mode, bias=True)  # type: ignore[arg-type]
    assert encoder(torch.randn(2, 333)).shape == (2, encoder.num_frames(333), 6)


def test_the_norm_over_valid_frames_equals_the_norm_of_the_cut_utterance() -> None:
    norm = ChannelwiseGroupNorm(5)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 40) + 3.0
    out = norm(x, torch.tensor([40, 23]))
    torch.testing.assert_close(out[0], F.group_norm(x[:1], 5, norm.weight, norm.bias)[0])
    torch.testing.assert_close(out[1, :, :23], F.group_norm(x[1:, :, :23], 5, norm.weight, norm.bias)[0])


def test_the_layer_norm_mode_normalises_every_block_and_group_norm_the_first() -> None:
    names = {
        mode: [name for name, _ in FeatureEncoder(SMALL, mode).named_parameters() if "norm.weight" in name]  # type: ignore[arg-type]
        for mode in ("group_norm", "layer_norm")
    }
    assert names["group_norm"] == ["blocks.0.norm.weight"]
    assert names["layer_norm"] == [f"blocks.{i}.norm.weight" for i in range(3)]


def test_the_gradient_is_scaled_and_the_value_is_not() -> None:
    plain = FeatureEncoder(SMALL)
    scaled = FeatureEncoder(SMALL, gradient_scale=0.1)
    scaled.load_state_dict(plain.state_dict())
    x = torch.randn(2, 300)
    a, b = plain(x), scaled(x)
    assert torch.equal(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    for p, q in zip(plain.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad * 0.1)


def test_a_gradient_scale_of_zero_freezes_the_encoder() -> None:
    encoder = FeatureEncoder(SMALL, gradient_scale=0.0)
    assert not encoder(torch.randn(1, 300)).requires_grad
    assert not any(p.requires_grad for p in encoder.parameters())


def test_convolutions_are_kaiming_normal() -> None:
    torch.manual_seed(0)
    weight = FeatureEncoder([(256, 10, 5), (256, 3, 2)]).blocks[1].conv.weight
    assert weight.std().item() == pytest.approx((2 / (256 * 3)) ** 0.5, rel=0.02)


def test_an_unknown_norm_mode_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="norm: 'batch'"):
        FeatureEncoder(SMALL, "batch")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
def test_what_gelu_gives_is_not_kept_and_gradients_are_those_of_keeping_it(monkeypatch, mode):
    monkeypatch.setattr(FeatureEncoder, "_by_rows", lambda self, waveform: False)
    encoder = FeatureEncoder(BASE, mode, bias=mode == "layer_norm").double()
    waveform = torch.randn(2, 3_000, dtype=torch.float64)

    def gradients() -> tuple[list[torch.Tensor], list[int]]:
        encoder.zero_grad()
        sizes: dict[int, int] = {}
        with saved_tensors_hooks(lambda t: (sizes.__setitem__(t.data_ptr(), t.numel()), t)[1], lambda t: t):
            features = encoder(waveform)
        features.square().sum().backward()
        weights = {parameter.numel() for parameter in encoder.parameters()}
        large = [size for size in sizes.values() if size not in weights]
        return [parameter.grad.clone() for parameter in encoder.parameters()], large

    again, fewer = gradients()
    monkeypatch.setattr(feature_encoder, "recomputed", lambda module, x, again: module(x))
    kept, more = gradients()
    for one, other in zip(again, kept, strict=True):
        assert torch.equal(one, other)
    frames = [num_frames(3_000, BASE[: index + 1]) for index in range(len(BASE))]
    assert sum(more) - sum(fewer) == sum(2 * 512 * count for count in frames[:-1])
