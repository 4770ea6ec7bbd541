"""A sum of gradients that does not depend on the order of its terms, nor on who adds them up.

Floating-point sums round after every addition, so that other workers, who add in another order, get other last bits; in
a model that learns, such a bit tips an argmax of the quantizer sooner or later, and the loss curves part. Whole numbers
do not round. Each micro-batch's gradient is therefore rounded once, to a multiple of 2^-48, and added up in 64-bit
integers; the total is rounded once more, to fp32. (The idea of pre-rounding: Demmel and Nguyen, "Fast reproducible
floating-point summation", 2013; a fixed grid suffices here, since gradients are per masked frame or utterance.)

The grid is finer than what the optimizer can see: Adam divides a gradient by its own size plus eps, and 2^-48 = 3.6e-15
is 3.6e-7 of the smallest eps of the recipes (1e-8) and far below the rounding of any gradient computed in bf16. Totals
up to 2^14 fit; a gradient beyond is reported like one that is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

GRID_BITS = 48
"""Gradients are multiples of 2 to the minus this."""
_TOTAL_BITS = 62
"""Totals stay below 2 to this, in units of the grid."""
_BUCKET_ELEMENTS = 25_000_000
"""Elements reduced at once."""
_CPU_ELEMENTS, _CUDA_ELEMENTS = 2**18, 2**24
"""Elements converted at once: what stays in a core's cache, and few enough kernels to start."""


class ExactSum:
    """Adds up the gradients of one update over micro-batches and workers.

    Args:
        parameters: Whose gradients they are; the totals live on their device.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        device = parameters[0].device
        self._sizes = sizes = [parameter.numel() for parameter in parameters]
        self._flat = torch.zeros(sum(sizes), dtype=torch.int64, device=device)
        self._sums = torch.split(self._flat, sizes)
        self._peak = torch.zeros((), dtype=torch.float32, device=device)
        at_once = min(max(sizes), _CUDA_ELEMENTS if device.type == "cuda" else _CPU_ELEMENTS)
        self._scaled = torch.empty(at_once, dtype=torch.float32, device=device)
        self._whole = torch.empty(at_once, dtype=torch.int64, device=device)

    @torch.no_grad()
    def add(self, gradients: Sequence[Tensor | None], factor: float = 1.0) -> None:
        """Add one micro-batch's gradient. Not a collective, and the device is not waited for.

        Args:
            gradients: In the order of the parameters, of any floating type; None is zero.
            factor: What they are multiplied by first; a power of two, or it would round.
        """
        peaks = [self._peak]
        at_once = len(self._scaled)
        for total, gradient in zip(self._sums, gradients, strict=True):
            if gradient is None:
                continue
            for sums, part in zip(torch.split(total, at_once), torch.split(gradient.reshape(-1), at_once), strict=True):
                scaled, whole = self._scaled[: len(part)], self._whole[: len(part)]
                scaled.copy_(part).mul_(factor * 2.0**GRID_BITS)
                peaks += torch.aminmax(scaled)  # eight times as fast as a maximum norm on the CPU
                sums.add_(whole.copy_(scaled.round_()))
        # NaN is handed on, and fails the comparison in `reduce_into`.
        self._peak = torch.stack(peaks).abs().amax()

    @property
    def partial(self) -> Tensor:
        """What this worker has added up, in units of the grid: int64, a live view. Shape: [elements]."""
        return self._flat

    def outside(self, terms: int) -> bool:
        """Whether one of this worker's gradients was not finite or too large for a sum of so many. Waits for it."""
        return not bool(self._within(terms))

    def _within(self, terms: int) -> Tensor:
        return self._peak < 2.0 ** (_TOTAL_BITS - math.ceil(math.log2(terms)))

    @torch.no_grad()
    def take_over(self, total: Tensor, targets: Sequence[Tensor], *, outside: bool) -> float:
        """Write a sum that was made elsewhere into targets, and begin anew.

        Args:
            total: Over all workers, rounded once to fp32, in units of the grid. Shape: [elements].
            targets: As for `reduce_into`.
            outside: Whether a gradient in it was outside.

        Returns:
            As `reduce_into`, of which this is the end.
        """
        for target, part in zip(targets, torch.split(total, self._sizes), strict=True):
            target.copy_(part.view_as(target)).mul_(2.0**-GRID_BITS)
        norm = _norm(targets)
        self._begin_anew()
        found = float(norm)
        return math.inf if outside or not math.isfinite(found) else found

    @torch.no_grad()
    def reduce_into(self, targets: Sequence[Tensor], terms: int) -> float:
        """Write the sum over all workers into the first worker's targets and zero into the others', and begin anew.

        So that a later sum over workers, such as DeepSpeed's, is exact too. Collective.

        Args:
            targets: fp32, in the order and of the shapes of the parameters.
            terms: Micro-batches of the update over all workers, which bounds what each may hold.

        Returns:
            L2 norm of the total, the same on every worker; infinite, with targets that mean nothing, when a
            micro-batch's gradient was not finite or larger than 2^14 / terms.
        """
        several = dist.is_initialized() and dist.get_world_size() > 1
        first = not several or dist.get_rank() == 0
        within = self._within(terms)
        if several:
            for bucket in torch.split(self._flat, _BUCKET_ELEMENTS):
                dist.reduce(bucket, 0)
        for target, total in zip(targets, self._sums, strict=True):
            if first:
                target.copy_(total.view_as(target)).mul_(2.0**-GRID_BITS)
            else:
                target.zero_()
        norm = _norm(targets)
        agreed = torch.stack([norm.double(), (~within).double()])
        if several:
            dist.all_reduce(agreed)
        self._begin_anew()
        total_norm, outside = agreed.tolist()
        return math.inf if outside or not math.isfinite(total_norm) else total_norm

    def _begin_anew(self) -> None:
        self._flat.zero_()
        self._peak.zero_()


def _norm(targets: Sequence[Tensor]) -> Tensor:
    """L2 norm: one a parameter and then one of those, the same additions whatever the number of workers."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(target) for target in targets]))
    return norm
