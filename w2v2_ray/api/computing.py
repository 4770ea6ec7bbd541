"""On what a job will compute, said before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from w2v2_ray.spec.job import TrainJob


def computes_on(job: TrainJob, seen: int | None = None, usable: int | None = None, bf16: bool | None = None) -> str:
    """The processors and the precision of a job, in a line.

    Args:
        job: The job.
        seen: GPUs of this machine; None counts them.
        usable: Those that PyTorch can use; None finds out.
        bf16: Whether the CPU multiplies bf16; None finds out.
    """
    import os

    from w2v2_ray.processors import cpu_multiplies_bf16, usable_gpus, visible_gpus

    seen = visible_gpus(os.environ) if seen is None else seen
    usable = usable_gpus() if usable is None else usable
    gpus, precision = job.worker.gpus, str(job.engine.precision)
    here = f"{usable} GPU{'' if usable == 1 else 's'}"
    if job.engine.device != "cpu" and gpus != 0:
        if gpus == "auto" and usable:
            return f"GPU, 1 a worker (worker.gpus: auto; this machine has {here}), {precision}"
        if gpus != "auto":
            return f"GPU, {gpus:g} a worker, {precision}{_lack(gpus * job.elastic.min_workers, usable)}"
    if precision == "bf16" and (cpu_multiplies_bf16() if bf16 is None else bf16) is False:
        precision = "bf16 multiplied in fp32"
    return f"CPU ({_why_cpu(job, seen, usable)}), {precision}"


def _lack(wanted: float, usable: int) -> str:
    if wanted <= usable:
        return ""
    have = usable or "none"
    return f"; this machine has {have} that PyTorch can use, so train on a cluster, or with --set worker.gpus=0"


def _why_cpu(job: TrainJob, seen: int, usable: int) -> str:
    unused = f"; GPUs of this machine that stay unused: {usable}" if usable else ""
    if job.engine.device == "cpu":
        return f"engine.device: cpu{unused}"
    if job.worker.gpus == 0:
        return f"worker.gpus: 0{unused}"
    if seen:
        return f"{seen} GPU{'' if seen == 1 else 's'} here, but PyTorch was built without CUDA"
    return "no GPU on this machine"
