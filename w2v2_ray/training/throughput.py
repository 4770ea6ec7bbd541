"""Speed and memory of a job: a few updates, timed, without checkpoints, logs or validation around them."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.loader import Prefetcher
from w2v2_ray.engine.device import pick_device
from w2v2_ray.engine.distributed import init_process_group
from w2v2_ray.engine.memory import MemoryMeter
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.training.metrics import max_over_workers, sum_over_workers
from w2v2_ray.training.objectives.registry import objective_of
from w2v2_ray.training.objectives.task import MicroBatch, Training
from w2v2_ray.training.run_plan import state_bytes_per_worker
from w2v2_ray.training.schedules import learning_rate
from w2v2_ray.training.session import set_threads
from w2v2_ray.training.step import Step


class NotFiniteError(Exception):
    """The loss or gradient of an update was not a number."""


@dataclass(frozen=True)
class Request:
    """What to measure, beside the job.

    Attributes:
        warmup_updates: Updates before the clock starts.
        timed_updates: Updates that are timed.
        noise: Make the audio up instead of reading the job's.
        noise_s: Shortest and longest utterance of it; None makes all `batch.max_samples` long.
        memory_limit_bytes: Allowance above the memory at the start.
    """

    warmup_updates: int
    timed_updates: int
    noise: bool
    noise_s: tuple[float, float] | None = None
    memory_limit_bytes: int | None = None


@dataclass(frozen=True)
class Throughput:
    """What was measured; sums over workers for speeds, the largest of any worker for times and memory.

    Attributes:
        frames_per_s: Frames of 20 ms forwarded in a second.
        masked_frames_per_s: Those that are masked, the "tokens" of the published tables; None for fine-tuning.
        audio_s_per_s: Seconds of audio forwarded in a second.
        step_s: Time of each timed update.
        step_p10_s: A tenth of the updates took less.
        step_p50_s: Half of them.
        step_p90_s: Nine tenths of them.
        cpu_s: CPU time of all threads and workers in the timed updates; what other programs take does not enter.
        frames: Frames forwarded in them.
        peak_memory_bytes: Most memory that tensors held at once, above the start; on the CPU that of one more update.
        reserved_memory_bytes: Most that the process took, its allocator's reserve included, building the engine too.
        state_bytes: Of which weights, gradients and optimizer state, by arithmetic.
        parameters: Trained parameters.
        loss: That of the last update.
        data_wait_fraction: Share of the time spent waiting for audio.
        workers: Processes.
        threads: CPU threads of each.
        device: What it ran on.
        audio: `noise` or `dataset`.
    """

    frames_per_s: float
    masked_frames_per_s: float | None
    audio_s_per_s: float
    step_s: tuple[float, ...]
    step_p10_s: float
    step_p50_s: float
    step_p90_s: float
    cpu_s: float
    frames: int
    peak_memory_bytes: int
    reserved_memory_bytes: int
    state_bytes: int
    parameters: int
    loss: float
    data_wait_fraction: float
    workers: int
    threads: int
    device: str
    audio: str

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def join_workers(rendezvous: str, rank: int, workers: int, device: torch.device) -> None:
    """Make the process group of a trial with several workers on one node; every one of them calls it."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{rendezvous}", rank=rank, world_size=workers)


def start_meter(job: TrainJob, *, rank: int, workers: int, rendezvous: str) -> tuple[torch.device, MemoryMeter]:
    """Import and join everything, then look how much memory is held before there is a model.

    Args:
        job: The spec.
        rank: This worker.
        workers: All of them.
        rendezvous: A file by which several workers find each other.
    """
    set_threads(job)
    device = pick_device(job.engine, rank)
    if workers > 1:
        join_workers(rendezvous, rank, workers, device)
    init_process_group(device)
    return device, MemoryMeter(device)


def measure(job: TrainJob, run: RunFolder, request: Request, device: torch.device, meter: MemoryMeter) -> Throughput:
    """Build the job's model and run its first updates. Collective.

    Raises:
        UserError: When the data cannot be used.
        NotFiniteError: When training is not.
        torch.OutOfMemoryError, MemoryError, RuntimeError: When memory runs out; see `memory.ran_out_of_memory`.
    """
    if request.memory_limit_bytes is not None:
        meter.limit(request.memory_limit_bytes)
    training = _training(job, run, request, device)
    engine = TrainingEngine(training.model, optim=job.applied_optim, engine=job.engine, device=device)
    try:
        return _Measurement(job, engine, training, request, meter).run()
    finally:
        engine.destroy()


def _training(job: TrainJob, run: RunFolder, request: Request, device: torch.device) -> Training:
    objective = objective_of(job)
    if request.noise:
        return objective.set_up_on_noise(job, request.noise_s, device)
    job = objective.begin(job, run)
    without_held_out = job.model_copy(update={"data": job.data.model_copy(update={"validation": ()})})
    return objective.set_up(without_held_out, run, device)


class _Measurement:
    """The updates of one measurement on one worker."""

    def __init__(
        self, job: TrainJob, engine: TrainingEngine, training: Training, request: Request, meter: MemoryMeter
    ) -> None:
        self._job = job
        self._engine = engine
        self._task = training.task
        self._request = request
        self._meter = meter
        self._step = Step(engine, training.task, job.batch.micro_batches_per_update)
        self._loss = math.nan

    def run(self) -> Throughput:
        """Warm up, then time."""
        batches = Prefetcher(self._task.micro_batch, self._mine(), depth=self._job.data.prefetch_micro_batches)
        totals: dict[str, float] = {}
        steps: list[float] = []
        waited = cpu_s = 0.0
        last = self._request.warmup_updates + self._request.timed_updates
        try:
            for update in range(1, last + 1):
                if update == self._request.warmup_updates + 1:
                    waited, cpu_s = batches.wait_s, time.process_time()
                elapsed_s, sums = self._timed(partial(self._update, update, batches))
                if update > self._request.warmup_updates:
                    steps.append(elapsed_s)
                    totals = {name: totals.get(name, 0.0) + value for name, value in sums.items()}
            waited, cpu_s = batches.wait_s - waited, time.process_time() - cpu_s
            held = self._memory(last + 1, batches)
        finally:
            batches.close()
        return self._result(totals, steps, waited, cpu_s, held)

    def _memory(self, update: int, batches: Prefetcher[MicroBatch]) -> tuple[int, int]:
        """Most that tensors held, and most that the process took."""
        taken = self._meter.reserved_bytes()
        if self._engine.device.type == "cuda":
            return self._meter.peak_bytes(), taken
        loss = self._loss
        self._meter.count_exactly()
        self._update(update, batches)
        self._loss = loss
        held = self._meter.peak_bytes()
        return held, max(taken, held)

    def _mine(self) -> Iterator[int]:
        for update in count(1):
            yield from self._step.share(update)

    def _timed(self, work: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
        """How long the slowest worker took."""
        started = time.perf_counter()
        sums = work()
        if self._engine.device.type == "cuda":
            torch.cuda.synchronize(self._engine.device)
        (elapsed_s,) = max_over_workers([time.perf_counter() - started], self._engine.device)
        return elapsed_s, sums

    def _update(self, update: int, batches: Prefetcher[MicroBatch]) -> dict[str, float]:
        weight = torch.tensor([float(self._step.weight(update))], dtype=torch.float64, device=self._engine.device)
        (normaliser,) = sum_over_workers(weight)
        job = self._job
        rate = learning_rate(job.optim, job.updates, update, like_reference=job.like_reference)
        result, totals = self._step.make(update, batches, normaliser=normaliser, lr=rate)
        self._loss = self._task.figures(totals)["loss"]
        skipped = result.overflow and self._job.engine.precision != "fp16"  # there it is looking for its loss scale
        if not math.isfinite(self._loss) or skipped:
            what = "gradient is not finite" if math.isfinite(self._loss) else f"loss is {self._loss}"
            raise NotFiniteError(f"the {what} at update {update}")
        return totals

    def _result(
        self, totals: dict[str, float], steps: list[float], waited_s: float, cpu_s: float, memory: tuple[int, int]
    ) -> Throughput:
        elapsed_s = sum(steps)
        engine = self._engine
        waiting, held, taken = max_over_workers([waited_s / elapsed_s, *memory], engine.device)
        (cpu_s,) = sum_over_workers(torch.tensor([cpu_s], dtype=torch.float64, device=engine.device))
        parameters = sum(math.prod(shape) for shape in engine.parameter_shapes.values())
        p10, p50, p90 = (float(value) for value in np.percentile(steps, (10, 50, 90)))
        masked = totals.get("masked_frames")
        return Throughput(
            frames_per_s=totals["frames"] / elapsed_s,
            masked_frames_per_s=masked / elapsed_s if masked is not None else None,
            audio_s_per_s=totals["samples"] / SAMPLE_RATE / elapsed_s,
            step_s=tuple(steps),
            step_p10_s=p10,
            step_p50_s=p50,
            step_p90_s=p90,
            cpu_s=cpu_s,
            frames=int(totals["frames"]),
            peak_memory_bytes=int(held),
            reserved_memory_bytes=int(taken),
            state_bytes=sum(state_bytes_per_worker(self._job.engine, parameters, engine.world_size)),
            parameters=parameters,
            loss=self._loss,
            data_wait_fraction=waiting,
            workers=engine.world_size,
            threads=torch.get_num_threads(),
            device=_device_name(engine.device),
            audio="noise" if self._request.noise else "dataset",
        )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
