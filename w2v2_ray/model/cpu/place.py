"""Whether the ways of this package may be taken at all."""

from __future__ import annotations

import torch
from torch import Tensor


def on_cpu(x: Tensor) -> bool:
    """Whether x is on a CPU and nothing is traced: a graph must not hold what only a CPU computes."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
