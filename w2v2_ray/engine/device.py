"""Which device a worker trains on."""

from __future__ import annotations

import torch

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.engine import EngineSpec


def pick_device(engine_spec: EngineSpec, local_rank: int) -> torch.device:
    """Turn the spec's wish into a device of this machine.

    Args:
        engine_spec: The job's engine section.
        local_rank: This worker's number on its node. It chooses among the GPUs that the process can see; a process
            that sees one GPU takes that one.

    Raises:
        SpecError: cuda is asked for and missing, or the precision needs a GPU and there is none.
    """
    available = torch.cuda.is_available()
    if engine_spec.device == "cuda" and not available:
        raise SpecError(
            "engine.device: cuda, but PyTorch finds no CUDA device in this worker; give workers a GPU "
            "(worker.gpus: 1) on nodes that have one, or use engine.device: auto or cpu"
        )
    use_cuda = available and engine_spec.device != "cpu"
    if engine_spec.precision == "fp16" and not use_cuda:
        raise SpecError(
            "engine.precision: fp16 needs a GPU, and this worker trains on the CPU; use precision: bf16 or fp32"
        )
    if not use_cuda:
        return torch.device("cpu")
    visible = torch.cuda.device_count()
    if local_rank >= visible and visible > 1:
        raise SpecError(
            f"worker {local_rank} of this node finds only {visible} CUDA devices; "
            f"start at most {visible} workers on such a node (worker.gpus: 1)"
        )
    return torch.device("cuda", local_rank if local_rank < visible else 0)
