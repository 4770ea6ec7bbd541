"""What a job will do, computed from its spec and the dataset's index, before anything is trained.

What follows from an epoch's sub-batches whatever the objective; each objective's `plan.py` finds those. It imports
neither torch nor deepspeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from w2v2_ray.data.batch_plan import BatchPlan, assigned
from w2v2_ray.data.mixture import DatasetMixture, MixtureShare
from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.model import SAMPLE_RATE

_FP32_BYTES = 4
_ADAM_BYTES = 8  # two fp32 moments
_EXACT_BYTES = 8  # 64-bit integers in which gradients are added up exactly, at ZeRO 0 and 1


@dataclass(frozen=True)
class DataShare:
    """What becomes of the training audio in an epoch."""

    hours: float
    utterances: int
    kept: int
    dropped_short: int
    """Utterances below `min_samples`, never used."""
    cropped_long: int
    """Utterances above `max_samples`, of which a random piece is used."""
    hours_per_epoch: float
    """Audio that is forwarded in an epoch: cropped to the shortest of each micro-batch, or padded to the longest."""
    mixture: tuple[MixtureShare, ...] = ()
    """Of each dataset."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Utterances that a recogniser cannot learn from, by reason."""


@dataclass(frozen=True)
class WorkerShare:
    """How an update divides among a number of workers."""

    workers: int
    min_micro_batches: int
    max_micro_batches: int
    efficiency: float
    """Share of the workers' time in which they have a micro-batch, if all take equally long."""
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int

    @property
    def state_bytes(self) -> int:
        """Memory per worker before any activation."""
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes


@dataclass(frozen=True)
class RunPlan:
    """The whole of it."""

    name: str
    data: DataShare
    sub_batches_per_epoch: int
    micro_batches_per_epoch: float
    updates_per_epoch: float
    updates: int
    epochs: float
    audio_s_per_update: float
    frames_per_update: float
    masked_frames_per_update: float | None
    """An expectation: masks are random; it comes from a sample of draws. None where they are not what is learned."""
    workers: tuple[WorkerShare, ...]
    parameters: dict[str, int]
    checkpoint_bytes: int
    symbols: tuple[str, ...] | None = None
    """What a recogniser writes with."""

    @property
    def total_parameters(self) -> int:
        """Parameters of the model."""
        return sum(self.parameters.values())

    def as_dict(self) -> dict[str, Any]:
        """For `plan --json`."""
        document = asdict(self)
        for share, entry in zip(self.workers, document["workers"], strict=True):
            entry["state_bytes"] = share.state_bytes
        document["data"]["mixture"] = list(document["data"]["mixture"])
        return {**document, "total_parameters": self.total_parameters}


def assemble(
    job: TrainJob,
    mixture: DatasetMixture,
    plan: BatchPlan,
    *,
    forwarded_samples: int,
    frames_per_sub_batch: float,
    masked_per_sub_batch: float | None,
    parameters: Mapping[str, int],
    left_out: Mapping[str, int] | None = None,
    symbols: tuple[str, ...] | None = None,
) -> RunPlan:
    """What follows from an epoch's sub-batches, whatever the kind of job.

    Args:
        job: The spec.
        mixture: Its training data.
        plan: Its micro-batches.
        forwarded_samples: Of an epoch, with padding.
        frames_per_sub_batch: Mean.
        masked_per_sub_batch: Mean, or None.
        parameters: By part of the model.
        left_out: Utterances by the reason why they cannot be used.
        symbols: Of a recogniser.
    """
    batch, per_epoch, per_update = job.batch, plan.sub_batches_per_epoch, job.batch.sub_batches_per_update
    left_out = dict(left_out or {})
    forwarded_s = forwarded_samples / SAMPLE_RATE
    total = sum(parameters.values())
    return RunPlan(
        name=job.name,
        data=DataShare(
            hours=mixture.hours,
            utterances=len(mixture),
            mixture=mixture.shares,
            kept=plan.utterances_per_epoch,
            dropped_short=plan.dropped_short - sum(left_out.values()),
            cropped_long=0 if left_out else plan.cropped_long,
            hours_per_epoch=forwarded_s / 3600,
            left_out=left_out,
        ),
        sub_batches_per_epoch=per_epoch,
        micro_batches_per_epoch=per_epoch / batch.concat,
        updates_per_epoch=per_epoch / per_update,
        updates=job.updates,
        epochs=job.updates * per_update / per_epoch,
        audio_s_per_update=forwarded_s / per_epoch * per_update,
        frames_per_update=frames_per_sub_batch * per_update,
        masked_frames_per_update=None if masked_per_sub_batch is None else masked_per_sub_batch * per_update,
        workers=tuple(_worker_share(job, total, count) for count in range(1, job.elastic.max_workers + 1)),
        parameters=dict(parameters),
        checkpoint_bytes=total * (_FP32_BYTES + _ADAM_BYTES),
        symbols=symbols,
    )


def _worker_share(job: TrainJob, parameters: int, workers: int) -> WorkerShare:
    total = job.batch.micro_batches_per_update
    shares = [len(assigned(total, 1, rank, workers)) for rank in range(workers)]
    weights, gradients, optimizer = state_bytes_per_worker(job.engine, parameters, workers)
    return WorkerShare(
        workers=workers,
        min_micro_batches=min(shares),
        max_micro_batches=max(shares),
        efficiency=total / (workers * max(shares)),
        weights_bytes=weights,
        gradients_bytes=gradients,
        optimizer_bytes=optimizer,
    )


def state_bytes_per_worker(engine: EngineSpec, parameters: int, workers: int) -> tuple[int, int, int]:
    """Estimate bytes of weights, gradients and optimizer state on each worker.

    Gradients are accumulated in fp32, and at stages 0 and 1 in 64-bit integers beside it (`exact_sum.py`); in half
    precision the optimizer also holds fp32 master weights. ZeRO divides the optimizer's state from stage 1, gradients
    from stage 2 and weights from stage 3 (Rajbhandari et al. 2020, section 5). Communication buffers and activations
    are not in it.
    """
    half = engine.precision != "fp32"

    def held(total_bytes: int, from_stage: int) -> int:
        return -(-total_bytes // workers) if engine.zero_stage >= from_stage else total_bytes

    weights = held(parameters * (2 if half else _FP32_BYTES), 3)
    exact = _EXACT_BYTES if engine.zero_stage < 2 else 0
    gradients = held(parameters * (_FP32_BYTES + exact), 2)
    optimizer = held(parameters * (_ADAM_BYTES + (_FP32_BYTES if half else 0)), 1)
    return weights, gradients, optimizer
