"""In which numbers a model that is used computes."""

from __future__ import annotations

from typing import Literal, TypeVar

import torch
from torch import nn

Precision = Literal["fp32", "bf16", "fp16"]
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

M = TypeVar("M", bound=nn.Module)


def in_precision(network: M, precision: Precision) -> M:
    """Return the network with its weights in these numbers, as training has them; softmax and norms' sums stay fp32."""
    return network.to(_TYPES[precision])
