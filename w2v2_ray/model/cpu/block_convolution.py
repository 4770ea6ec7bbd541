"""A grouped convolution over time with a wide kernel, by Fourier transforms of short blocks (overlap-save).

A transform over all frames, as textbooks have it, would transform the kernel at that length too, which costs as much
as it saves. Blocks of one and a half kernels keep the kernel's transform short. For CPUs; results differ from the
direct sum's by float rounding, and are nearer to the exact ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve_in_blocks(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """What `conv1d` with `padding=K // 2` gives, without the frame too many that an even kernel makes.

    Source: Oppenheim and Schafer, Discrete-Time Signal Processing, section 8.7 (overlap-save); as in all networks the
    kernel is not turned around.

    Args:
        x: Frames, fp32 or fp64.
        weight: Of the convolution, of the same dtype.
        groups: Groups G of the convolution.

    Shape: x [B, T, D], weight [D, D / G, K] -> [B, T, D].
    """
    B, T, D = x.shape
    kernel = weight.shape[-1]
    size = kernel + kernel // 2
    hop = size - kernel + 1
    blocks = -(-T // hop)
    before = kernel // 2
    padded = F.pad(x, (0, 0, before, blocks * hop + kernel - 1 - T - before))
    # [B, blocks, D, F] -> [F, G, B · blocks, D / G]: a product of small matrices for every frequency and group.
    signal = torch.fft.rfft(padded.unfold(1, size, hop))
    signal = signal.view(B * blocks, groups, D // groups, -1).permute(3, 1, 0, 2)
    # The conjugate, as the kernel is not turned around.
    response = torch.fft.rfft(weight, n=size).conj()
    response = response.view(groups, D // groups, D // groups, -1).permute(3, 0, 2, 1)
    product = torch.matmul(signal.contiguous(), response.resolve_conj().contiguous())
    product = product.permute(2, 1, 3, 0).reshape(B, blocks, D, -1)
    frames: Tensor = torch.fft.irfft(product, n=size)[..., :hop]
    return frames.transpose(2, 3).reshape(B, blocks * hop, D)[:, :T]
