from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_helpers import HOURGLASS

from w2v2_ray.model.ctc import ctc_loss
from w2v2_ray.model.factory import build_ctc_model
from w2v2_ray.spec.model import ModelSpec

SpecBuilder = Callable[..., ModelSpec]
KINDS = [{}, {"norm_first": True}, {"hourglass": HOURGLASS}, {"hourglass": HOURGLASS | {"resample": "linear"}}]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(60, 1300), seed=st.integers(0, 100), noise=st.floats(0, 100))
def test_padding_changes_no_valid_log_prob(
    kind: dict[str, Any], length: int, seed: int, noise: float, small_spec: SpecBuilder
) -> None:
    torch.manual_seed(seed)
    model = build_ctc_model(small_spec(**kind), vocab_size=7).eval()
    waveform = torch.randn(2, 1300)
    waveform[1, length:] = noise
    with torch.no_grad():
        padded = model(waveform, torch.tensor([1300, length]))
        alone = model(waveform[1:, :length])
    frames = int(alone.frame_lengths[0])
    assert padded.frame_lengths.tolist() == [model.backbone.feature_encoder.num_frames(1300), frames]
    torch.testing.assert_close(padded.log_probs[1, :frames], alone.log_probs[0], rtol=1e-4, atol=2e-5)


def test_padded_frames_put_all_mass_on_blank(small_spec: SpecBuilder) -> None:
    model = build_ctc_model(small_spec(), vocab_size=5).eval()
    out = model(torch.randn(2, 900), torch.tensor([900, 400]))
    assert out.padding_mask is not None
    assert torch.equal(out.log_probs[out.padding_mask].exp().unique(dim=0), torch.tensor([[1.0, 0, 0, 0, 0]]))
    torch.testing.assert_close(out.log_probs.exp().sum(2), torch.ones(out.log_probs.shape[:2]))


def test_the_loss_is_a_sum_that_padding_does_not_change(small_spec: SpecBuilder) -> None:
    model = build_ctc_model(small_spec(hourglass=HOURGLASS), vocab_size=6).eval()
    waveform, lengths = torch.randn(2, 900), torch.tensor([900, 500])
    targets, target_lengths = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2])
    batch = ctc_loss(model(waveform, lengths), targets, target_lengths)
    alone = [
        ctc_loss(model(waveform[i : i + 1, : lengths[i]]), targets[i : i + 1], target_lengths[i : i + 1])
        for i in (0, 1)
    ]
    torch.testing.assert_close(batch, alone[0] + alone[1], rtol=1e-4, atol=1e-4)
    batch.backward()
    assert model.head.weight.grad is not None
    assert model.head.weight.grad.isfinite().all()


def test_a_target_too_long_for_its_frames_counts_as_zero(small_spec: SpecBuilder) -> None:
    model = build_ctc_model(small_spec(), vocab_size=6)
    out = model(torch.randn(1, 200))
    too_long = torch.randint(1, 6, (1, 50))
    assert ctc_loss(out, too_long, torch.tensor([50])).item() == 0.0


def test_a_frozen_backbone_gets_no_gradient_and_the_head_does(small_spec: SpecBuilder) -> None:
    model = build_ctc_model(small_spec(), vocab_size=6)
    out = model(torch.randn(1, 900), freeze_backbone=True)
    out.log_probs.sum().backward()
    assert model.head.weight.grad is not None
    assert all(p.grad is None for p in model.backbone.parameters())


def test_masked_channels_reach_the_encoder_as_zeros(small_spec: SpecBuilder) -> None:
    model = build_ctc_model(small_spec(), vocab_size=6).eval()
    seen: list[torch.Tensor] = []
    model.backbone.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    channels = torch.zeros(1, 24, dtype=torch.bool)
    channels[0, 3:9] = True
    model(torch.randn(1, 900), channel_mask=channels)
    assert not seen[0][..., 3:9].any()
    assert seen[0][..., 9:].any()
