"""What the exact sum of gradients costs beside a plain fp32 sum, at the size of Base or Large.

Usage: python benchmarks/exact_sum.py [--preset base] [--repeats 5] [--precision bf16]

Adds the gradient of one micro-batch and hands over the total, as one worker does; the plain sum is what DeepSpeed's
fp32 accumulation does. Compare with the seconds that a micro-batch's forward and backward passes take.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from w2v2_ray.engine.exact_sum import ExactSum
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.loading import load_job_text


def timed(action: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """Print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    job = load_job_text(f"kind: pretrain\npreset: {args.preset}\nname: x\ndata: {{train: x}}\n", "job").job
    assert isinstance(job, PretrainJob)
    parameters = list(build_pretrain_model(job.model, job.loss).parameters())
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    gradients = [torch.randn_like(parameter, dtype=dtype) * 1e-3 for parameter in parameters]
    plain = [torch.zeros_like(parameter) for parameter in parameters]
    exact = ExactSum(parameters)
    targets = [torch.empty_like(parameter) for parameter in parameters]

    def add_plainly() -> None:
        with torch.no_grad():
            for total, gradient in zip(plain, gradients, strict=True):
                total.add_(gradient.float())

    rounds = [
        (timed(add_plainly), timed(lambda: exact.add(gradients)), timed(lambda: exact.reduce_into(targets, 64)))
        for _ in range(args.repeats + 1)
    ][1:]
    plainly, exactly, handed = (statistics.median(column) for column in zip(*rounds, strict=True))
    count = sum(parameter.numel() for parameter in parameters)
    print(f"{args.preset}, {args.precision}: {count:,} parameters, {torch.get_num_threads()} threads, medians")
    print(f"  plain fp32 sum    {plainly:8.3f} s a micro-batch")
    print(f"  exact sum         {exactly:8.3f} s a micro-batch ({exactly / plainly:.1f} x)")
    print(f"  total handed over {handed:8.3f} s an update, without communication")


if __name__ == "__main__":
    main()
