"""Dropout, the way that is fastest where the tensor is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from w2v2_ray.model.cpu import dropping


def dropout(x: Tensor, probability: float, active: bool) -> Tensor:
    """Set elements to zero and scale the others so that the mean stays; the identity where not active.

    On a CPU and with gradients what is dropped follows from one number of torch's generator
    (`cpu/dropping.py`); elsewhere it is torch's own dropout.

    Args:
        x: Anything.
        probability: Of dropping an element; on a CPU rounded to a multiple of 2^-16.
        active: Whether to drop at all.
    """
    if not active or probability == 0.0:
        return x
    return dropping.dropped(x, probability) if dropping.draws_here(x) else F.dropout(x, probability)
