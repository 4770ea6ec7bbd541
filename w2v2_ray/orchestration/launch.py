"""The driver of a training job: check everything, start the workers through Ray Train, see the run to its end."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2v2_ray import errors
from w2v2_ray.data.mixture import open_mixture
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.engine.checkpoint_store import list_checkpoints
from w2v2_ray.engine.pretraining_task import build_plan
from w2v2_ray.engine.run_folder import RunFolder, write_text
from w2v2_ray.errors import RunFailedError, StorageError, W2v2RayError
from w2v2_ray.orchestration.run_lock import run_lock
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.loading import dump_job

CHECKSUM_LIMIT_BYTES = 100 * 2**30
"""Datasets up to this size are read once and checked bit by bit before a run; of larger ones the sizes are checked."""


@dataclass(frozen=True)
class RunSummary:
    """How a run ended."""

    folder: Path
    updates: int


def run_folder(job: PretrainJob) -> RunFolder:
    """Where a job's run lives.

    Raises:
        StorageError: When the storage path is a URI.
    """
    if "://" in job.storage_path:
        raise StorageError(
            f"storage_path: {job.storage_path}: runs are written to a folder that every worker sees, not to a URI; "
            "use a local path or a mounted share (datasets may be URIs)"
        )
    return RunFolder(Path(job.storage_path).expanduser().resolve() / job.name)


def check_data(job: PretrainJob) -> None:
    """Open every dataset of a job and check it, so that a bad shard is named now and not in the middle of the run.

    Raises:
        UserError: Naming the dataset or shard.
    """
    for refs in (job.data.train, job.data.validation):
        if not refs:
            continue
        parts = [(ref.path, ref.repeat) for ref in refs]
        cache: dict[str, Any] = {"cache_dir": job.data.cache_dir, "cache_bytes": job.data.cache_bytes}
        mixture = open_mixture(parts, verify="sizes", **cache)
        if mixture.num_samples.sum(dtype="int64") * 2 <= CHECKSUM_LIMIT_BYTES:
            mixture = open_mixture(parts, verify="checksums", **cache)
        build_plan(job, mixture, RandomStreams(job.seed))


def launch(job: PretrainJob, *, resume: bool = True, address: str | None = None) -> RunSummary:
    """Train a job to its end, or from where an earlier launch left it.

    Args:
        job: What to do.
        resume: False refuses to go on with a run that exists.
        address: Ray cluster; None joins the one the environment names or starts one on this machine.

    Raises:
        UserError: When something is wrong before anything starts.
        RunFailedError: When the run failed.
    """
    run = run_folder(job)
    if not resume and (list_checkpoints(run.checkpoints) or run.metrics.exists()):
        raise StorageError(f"{run.path}: this run exists; use another name, or --resume to go on with it")
    check_data(job)
    run.create()
    with run_lock(run.path):
        write_text(run.spec, dump_job(job))
        run.event("launch", min_workers=job.elastic.min_workers, max_workers=job.elastic.max_workers)
        _train_with_ray(job, run, address)
    return RunSummary(folder=run.path, updates=job.updates)


def _train_with_ray(job: PretrainJob, run: RunFolder, address: str | None) -> None:
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        _start_ray(job, address)
    try:
        _fit(job, run)
    finally:
        if started_here:
            ray.shutdown()


def _start_ray(job: PretrainJob, address: str | None) -> None:
    import ray

    options: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": False}
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        # On one machine the job's workers share what cores there are, rather than wait for more for ever.
        wanted = -(-job.elastic.max_workers * job.worker.cpus // 1)
        options |= {"num_cpus": int(max(wanted, os.cpu_count() or 1)), "include_dashboard": False}
    try:
        ray.init(address=address, **options)
    except ConnectionError as error:
        raise errors.UserError(
            f"{address}: no Ray cluster answers there; start one with `ray start --head`, or leave the address out"
        ) from error


def _fit(job: PretrainJob, run: RunFolder) -> None:
    import ray.train.torch
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    from w2v2_ray.orchestration.worker import train_worker

    elastic = job.elastic
    fatal = f".fatal-{time.time_ns()}.json"
    resources = {"CPU": job.worker.cpus}
    if job.worker.gpus:
        resources["GPU"] = job.worker.gpus
    trainer = ray.train.torch.TorchTrainer(
        train_worker,
        train_loop_config={"job": job.model_dump(mode="json"), "run": str(run.path), "fatal": fatal},
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if job.worker.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(
                elastic.max_workers
                if elastic.min_workers == elastic.max_workers
                else (elastic.min_workers, elastic.max_workers)
            ),
            use_gpu=job.worker.gpus > 0,
            resources_per_worker=resources,
        ),
        run_config=RunConfig(
            # A name of its own for every launch: Ray would silently resume a name that it knows.
            name=f"launch-{time.time_ns()}",
            storage_path=str(run.path / "ray"),
            failure_config=FailureConfig(max_failures=job.failure.max_failures),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        failure = _fatal_error(run.path / fatal)
        run.event("failed", reason=(failure.message if failure else str(error))[:2000])
        if failure is not None:
            raise failure from None
        raise RunFailedError(
            f"{run.path}: the workers failed {job.failure.max_failures + 1} times and the run gave up; everything up "
            f"to the last checkpoint is kept, and the same command resumes. Last error:\n{_root_cause(error)}"
        ) from error
    failure = _fatal_error(run.path / fatal)
    if failure is not None:
        raise failure


def _fatal_error(path: Path) -> W2v2RayError | None:
    """The error that a worker left behind because no retry can mend it."""
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    path.unlink()
    kind = getattr(errors, content["type"], RunFailedError)
    failure: W2v2RayError = kind(content["message"])
    return failure


def _root_cause(error: BaseException) -> str:
    return "\n".join(str(error).strip().splitlines()[-15:])
