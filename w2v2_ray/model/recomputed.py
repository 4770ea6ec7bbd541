"""Not keeping for the backward pass what is cheap to compute again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


@contextmanager
def recomputed(tensor: Tensor, again: Callable[[], Tensor]) -> Iterator[None]:
    """Within, operations that would keep `tensor` for the backward pass have it computed again there.

    Unlike a custom function around a linear layer this leaves the layer a module that is called, which engines that
    bring its weights when it is called (ZeRO 3) depend on.

    Args:
        tensor: What is not to be kept.
        again: Computes the same values from what is kept anyway; runs without gradients.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        yield
        return
    place, shape, strides = tensor.data_ptr(), tensor.shape, tensor.stride()
    contiguous = tensor.is_contiguous()

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
        yield
