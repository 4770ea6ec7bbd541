"""Relative positions as one wide grouped convolution with weight norm."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.model.cpu.block_convolution import convolve_in_blocks
from w2v2_ray.model.cpu.place import on_cpu

_WIDE_KERNEL = 32
"""From this width on transforms are faster than sums on a CPU."""


def transforms_pay(x: Tensor, kernel: int) -> bool:
    """Whether to convolve by Fourier transforms: on a CPU, with a wide kernel, when nothing is traced."""
    return kernel >= _WIDE_KERNEL and on_cpu(x)


class PositionalConv(nn.Module):
    """GELU(grouped Conv1d(x)) with weight norm over the kernel axis (reference `conv_pos`, `conv_pos_groups`).

    It is always computed in fp32, whatever the dtype of parameters and input: a sum over kernel x D / groups
    products loses too much in 16 bits (reference section 6). Weight norm is held as two plain parameters,
    `weight_g` [1, 1, K] and `weight_v` [D, D / groups, K]: the names that checkpoints use and that an engine can
    cast and shard like any others. `fold` merges them for inference.

    Args:
        dim: D, channels in and out.
        kernel: K, frames.
        groups: Groups of the convolution; divides D.

    Raises:
        ValueError: If groups does not divide dim.
    """

    def __init__(self, dim: int, kernel: int = 128, groups: int = 16) -> None:
        super().__init__()
        if dim % groups:
            raise ValueError(f"groups: {groups} does not divide dim {dim}")
        self.kernel = kernel
        self.groups = groups
        v = torch.empty(dim, dim // groups, kernel)
        nn.init.normal_(v, mean=0.0, std=math.sqrt(4.0 / (kernel * dim)))
        self.weight_g: nn.Parameter | None = nn.Parameter(v.norm(dim=(0, 1), keepdim=True))
        self.weight_v: nn.Parameter | None = nn.Parameter(v)
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_parameter("weight", None)

    def effective_weight(self) -> Tensor:
        """Return the convolution's weight g · v / |v| in fp32.

        Shape: [D, D / groups, K].
        """
        if self.weight_g is None or self.weight_v is None:
            folded: Tensor = self.weight
            return folded.float()
        v = self.weight_v.float()
        weight: Tensor = v * (self.weight_g.float() / v.norm(dim=(0, 1), keepdim=True))
        return weight

    @torch.no_grad()
    def fold(self) -> None:
        """Merge the weight norm into one fp32 `weight`, for inference. Folding twice does nothing."""
        if self.weight_g is not None:
            self.weight = nn.Parameter(self.effective_weight(), requires_grad=False)
            self.weight_g = None
            self.weight_v = None

    def forward(self, x: Tensor) -> Tensor:
        """Return what is to be added to x.

        Shape: [B, T, D] -> [B, T, D].
        """
        with torch.autocast(x.device.type, enabled=False):
            x32, weight, bias = x.float(), self.effective_weight(), self.bias.float()
            if transforms_pay(x, self.kernel):
                return F.gelu(convolve_in_blocks(x32, weight, self.groups) + bias).to(x.dtype)
            y = F.conv1d(x32.transpose(1, 2), weight, bias, padding=self.kernel // 2, groups=self.groups)
            # An even kernel with symmetric padding makes one frame too many.
            y = F.gelu(y[:, :, : x.shape[1]])
        return y.transpose(1, 2).to(x.dtype)
