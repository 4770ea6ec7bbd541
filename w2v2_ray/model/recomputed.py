"""Not keeping for the backward pass what is cheap to compute again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


def recomputed(module: nn.Linear | nn.Conv1d, x: Tensor, again: Callable[[], Tensor]) -> Tensor:
    """`module(x)`, for whose backward pass x is not kept but computed again.

    Unlike a custom function around a linear layer this leaves the layer a module that is called, which engines that
    bring its weights when it is called (ZeRO 3) depend on.

    Args:
        module: What would keep x.
        x: What is not to be kept.
        again: Computes the same values from what is kept anyway; runs without gradients.
    """
    # ZeRO 3 brings the weight when the module is called and takes it away again; the hooks would hold it.
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or not module.weight.numel():
        plain: Tensor = module(x)
        return plain
    place, shape, strides = x.data_ptr(), x.shape, x.stride()
    contiguous = x.is_contiguous()

    def pack(kept: Tensor) -> Tensor | torch.Size:
        if kept.data_ptr() != place or kept.numel() != shape.numel():
            return kept
        # A linear layer keeps a view of its input, of another shape.
        same = (contiguous and kept.is_contiguous()) or (kept.shape == shape and kept.stride() == strides)
        return kept.shape if same else kept

    def unpack(kept: Tensor | torch.Size) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        with torch.no_grad():
            return again().view(kept)

    with saved_tensors_hooks(pack, unpack):
        out: Tensor = module(x)
    return out
