"""Products of bf16 tensors on processors that have no instructions for them.

torch multiplies such tensors there in plain loops, a hundred times slower than fp32. Widened to fp32, multiplied and
rounded, they are what those loops give, which add up in fp32 too, but for the order of the sum.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from w2v2_ray.model.cpu.place import on_cpu


@lru_cache(maxsize=1)
def has_fast_bf16() -> bool:
    """Whether torch multiplies bf16 on this processor with its library's kernels and not in loops."""
    # The operator exists only in builds with oneDNN.
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def to_be_widened(x: Tensor) -> bool:
    """Whether what multiplies x should make it fp32 first: bf16 on a CPU without fast bf16, when nothing is traced."""
    return x.dtype == torch.bfloat16 and on_cpu(x) and not has_fast_bf16()


def wide_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` by way of fp32; what is kept for the backward pass is what that of `F.linear` keeps.

    Shape: x [..., I], weight [O, I], bias [O] -> [..., O].
    """
    out: Tensor = _WideLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


class _WideLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x.float(), weight.float(), None if bias is None else bias.float()).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad_outputs[0].float().flatten(0, -2)
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            (grad @ weight.float()).to(x.dtype).view_as(x) if wants_x else None,
            (grad.t() @ x.float().flatten(0, -2)).to(weight.dtype) if wants_weight else None,
            grad.sum(0).to(weight.dtype) if wants_bias else None,
        )
