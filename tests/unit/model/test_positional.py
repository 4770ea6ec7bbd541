from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from w2v2_ray.model.cpu.block_convolution import convolve_in_blocks
from w2v2_ray.model.positional import PositionalConv


def test_the_weight_norm_equals_that_of_torch_over_the_kernel_axis() -> None:
    ours = PositionalConv(8, kernel=6, groups=2)
    reference = weight_norm(nn.Conv1d(8, 8, 6, padding=3, groups=2), dim=2)
    assert ours.weight_g is not None
    assert ours.weight_v is not None
    with torch.no_grad():
        ours.weight_g.mul_(1.7)
        reference.parametrizations.weight.original0.copy_(ours.weight_g)
        reference.parametrizations.weight.original1.copy_(ours.weight_v)
        reference.bias.copy_(ours.bias.normal_())
    x = torch.randn(2, 15, 8)
    expected = nn.functional.gelu(reference(x.transpose(1, 2))[:, :, :-1]).transpose(1, 2)
    torch.testing.assert_close(ours(x), expected)


@pytest.mark.parametrize("kernel", [5, 6, 31, 32])
def test_the_length_is_kept_for_even_and_odd_kernels(kernel: int) -> None:
    assert PositionalConv(8, kernel, 2)(torch.randn(1, 11, 8)).shape == (1, 11, 8)


def test_bf16_parameters_are_computed_with_in_fp32() -> None:
    conv = PositionalConv(16, 32, 4).bfloat16()
    x = torch.randn(1, 40, 16).bfloat16()
    out = conv(x)
    assert out.dtype == torch.bfloat16
    exact = conv.float()(x.float())
    # One rounding of the result to bf16, and none in between.
    assert torch.equal(out, exact.bfloat16())


def test_folding_leaves_one_weight_and_the_same_output() -> None:
    conv = PositionalConv(8, 4, 2)
    x = torch.randn(1, 9, 8)
    before = conv(x)
    conv.fold()
    conv.fold()
    torch.testing.assert_close(conv(x), before)
    assert set(conv.state_dict()) == {"weight", "bias"}


def test_the_initial_deviation_is_that_of_the_reference() -> None:
    torch.manual_seed(0)
    weight = PositionalConv(64, 128, 4).effective_weight()
    assert weight.std().item() == pytest.approx(math.sqrt(4 / (128 * 64)), rel=0.02)


@pytest.mark.parametrize("kernel", [32, 33, 128])
@pytest.mark.parametrize("frames", [1, 40, 65, 130, 301])
def test_blocks_of_transforms_give_what_the_direct_convolution_gives(kernel, frames):
    torch.manual_seed(0)
    x = torch.randn(3, frames, 12, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(12, 3, kernel, dtype=torch.float64, requires_grad=True)
    found = convolve_in_blocks(x, weight, 4)
    expected = F.conv1d(x.transpose(1, 2), weight, padding=kernel // 2, groups=4)[:, :, :frames].transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    along = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, (x, weight), along), torch.autograd.grad(expected, (x, weight), along), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
