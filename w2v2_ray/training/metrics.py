"""Figures of a step: sums over workers, throughput, memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import torch
import torch.distributed as dist


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory this worker has held: on the GPU what torch allocated, on the CPU the process's resident set."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kilobytes, macOS bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def sum_over_workers(values: torch.Tensor) -> list[float]:
    """Sum a vector over all workers, in float64. Collective: every worker must call it."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(values, op=dist.ReduceOp.SUM)
    return [float(value) for value in values.tolist()]


def max_over_workers(values: Sequence[float], device: torch.device) -> list[float]:
    """Largest of each value over all workers. Collective: every worker must call it."""
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return [float(value) for value in tensor.tolist()]
