"""Dropout on CPUs from few random numbers, with nothing kept for the backward pass.

torch's CPU dropout asks its generator once an element, on one thread: a twelfth of a Base step. Here an element takes
16 bits of it, so that probabilities are rounded to 2^-16, and the backward pass draws the same bits again from a seed
instead of keeping a mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from w2v2_ray.model.cpu.place import on_cpu

_SEED_LIMIT = 2**62
_LEVELS = 2**16
_DRAWS_A_WORD = 4


def dropped(x: Tensor, probability: float) -> Tensor:
    """Set elements to zero and scale the others so that the mean stays; what is dropped follows from one `draw_seed`.

    Args:
        x: Anything on the CPU.
        probability: Of dropping an element, rounded to a multiple of 2^-16.
    """
    out: Tensor = _Dropout.apply(x, probability, draw_seed())  # type: ignore[no-untyped-call]
    return out


def draw_seed() -> int:
    """A seed for `generator`, drawn from torch's CPU generator."""
    return int(torch.randint(_SEED_LIMIT, ()))


def generator(seed: int) -> torch.Generator:
    """Where masks of this seed come from, one after the other."""
    return torch.Generator().manual_seed(seed)


def kept(shape: Sequence[int], dtype: torch.dtype, probability: float, draws: torch.Generator) -> Tensor:
    """1 for what is kept, 0 for what is dropped, on the CPU.

    Shape: returns `shape`.
    """
    count = math.prod(shape)
    words = torch.empty(-(-count // _DRAWS_A_WORD), dtype=torch.int64)
    words.random_(-(2**63), None, generator=draws)
    bits = words.view(torch.int16)[:count].view(*shape)
    # int16 reaches from -2^15: as many of its values lie below this as are to be dropped.
    return torch.ge(bits, _dropped_levels(probability) - _LEVELS // 2, out=torch.empty(*shape, dtype=dtype))


def scale(probability: float) -> float:
    """What is kept is multiplied by this."""
    return _LEVELS / (_LEVELS - _dropped_levels(probability))


def draws_here(x: Tensor) -> bool:
    """Whether this module draws for x: on a CPU, in training and when nothing is traced."""
    return torch.is_grad_enabled() and on_cpu(x)


def _dropped_levels(probability: float) -> int:
    return min(round(probability * _LEVELS), _LEVELS - 1)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, probability: float, seed: int) -> Tensor:
        ctx.probability, ctx.seed = probability, seed
        return _dropped(x, probability, seed)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        return _dropped(grad_outputs[0], ctx.probability, ctx.seed), None, None


def _dropped(x: Tensor, probability: float, seed: int) -> Tensor:
    return kept(x.shape, x.dtype, probability, generator(seed)).mul_(x).mul_(scale(probability))
