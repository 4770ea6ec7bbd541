"""One training step, forward and backward: audio seconds a second, peak memory, share of the machine's peak."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch

from w2v2_ray.bench import peers
from w2v2_ray.bench.flops import model_flops
from w2v2_ray.bench.workload import DTYPES, StepSettings, model_spec, step_input
from w2v2_ray.resident_memory import peak_rss_bytes, reset_peak

_MATMUL_SIZE = {"cpu": 1024, "cuda": 8192}
_MATMUL_REPEATS = 5


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Measure one implementation in this process.

    Returns:
        step_s and cpu_s (medians over steps; the latter of all threads together, which other programs on the machine
        disturb less), audio_s_per_s, frames_per_s, masked_frames_per_s, peak_rss_bytes (of the steps,
        weights and gradients included), peak_device_bytes on a GPU, loss (of the last step, as a check), matmul_flops
        (a second, measured here) and model_flops_utilisation (model FLOPs over it).

    Raises:
        UserError: The peer cannot do what is asked.
    """
    asked = StepSettings.parse(settings)
    spec = model_spec(asked)
    given = step_input(asked, spec)
    loss_of = peers.build(asked, given)
    peak_flops = matmul_flops(asked.device, DTYPES[asked.precision])
    reset_peak()
    torch.manual_seed(1)
    times: list[float] = []
    cpu_times: list[float] = []
    loss = float("nan")
    for step in range(asked.steps + 1):
        loss_of.model.zero_grad(set_to_none=True)
        started, cpu_started = time.perf_counter(), time.process_time()
        total = loss_of()
        total.backward()  # type: ignore[no-untyped-call]
        if asked.device == "cuda":
            torch.cuda.synchronize()
        if step:
            times.append(time.perf_counter() - started)
            cpu_times.append(time.process_time() - cpu_started)
        loss = float(total.detach())
        del total
    step_s = statistics.median(times)
    # On a CPU both are per second of processor time, so that it says what share of the cores' peak was used while we
    # had them.
    cpu_s = statistics.median(cpu_times)
    busy_s = cpu_s if asked.device == "cpu" else step_s
    found = {
        "step_s": step_s,
        "cpu_s": cpu_s,
        "audio_s_per_s": asked.batch * asked.seconds / step_s,
        "frames_per_s": given.masks.numel() / step_s,
        "masked_frames_per_s": int(given.masks.sum()) / step_s,
        "peak_rss_bytes": peak_rss_bytes(),
        "loss": loss,
        "matmul_flops": peak_flops,
        "model_flops_utilisation": model_flops(spec, asked.batch, asked.samples) / busy_s / peak_flops,
    }
    if asked.device == "cuda":
        found["peak_device_bytes"] = torch.cuda.max_memory_allocated()
    return found


def matmul_flops(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, the best of a few.

    A second of one core on a CPU, of the clock on a GPU.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    n = _MATMUL_SIZE[device]
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(_MATMUL_REPEATS):
        started = clock()
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - started)
    return 2.0 * n**3 / best
