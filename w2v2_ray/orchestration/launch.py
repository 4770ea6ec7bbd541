"""The driver of a training job: check everything, start the workers through Ray Train, see the run to its end."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from w2v2_ray import errors
from w2v2_ray.errors import CheckpointError, RunFailedError, StorageError, W2v2RayError
from w2v2_ray.orchestration.cluster import ray_cluster, survey
from w2v2_ray.orchestration.finished import finished_at, updates_made
from w2v2_ray.orchestration.settings import own_cluster_settings, set_ray_variables
from w2v2_ray.orchestration.sinks.prometheus import PrometheusSink
from w2v2_ray.orchestration.sinks.sink import feed, make_sinks
from w2v2_ray.orchestration.spec_changes import changes_of, tell_changes
from w2v2_ray.orchestration.supply import Supply, refuse_here, settle_gpus
from w2v2_ray.places.durable import write_text
from w2v2_ray.places.storage import locate
from w2v2_ray.processors import usable_gpus
from w2v2_ray.run.checkpoints.files import check_identity, list_checkpoints, read_manifest
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.run.opening import is_uri, open_run
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.loading import dump_job
from w2v2_ray.training.identity import run_identity
from w2v2_ray.training.objectives.data import kept_open, open_data
from w2v2_ray.training.objectives.registry import objective_of

J = TypeVar("J", bound=TrainJob)

CHECKSUM_LIMIT_BYTES = 100 * 2**30
"""Datasets up to this size are read once and checked bit by bit before a run; of larger ones the sizes are checked."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        folder: Its folder on this node.
        updates: How many it made.
        place: Its folder or URI.
    """

    folder: Path
    updates: int
    place: str


def run_folder(job: TrainJob) -> RunFolder:
    """Where a job's run lives.

    Raises:
        StorageError: When the storage path is a URI of an unknown scheme.
    """
    if is_uri(job.storage_path):
        return open_run((locate(job.storage_path) / job.name).uri, "driver")
    return RunFolder(Path(job.storage_path).expanduser().resolve() / job.name)


def with_absolute_paths(job: J) -> J:
    """The job with every local path made absolute: workers do not run in the driver's folder."""

    def absolute(path: str) -> str:
        return path if "://" in path else os.path.abspath(os.path.expanduser(path))

    return job.with_inputs(absolute)


def check_data(job: TrainJob) -> str:
    """Open every dataset of a job and check it, so that a bad shard is named now and not in the middle of the run.

    Returns:
        Fingerprint of the training data.

    Raises:
        UserError: Naming the dataset or shard.
    """
    fingerprints = []
    for refs in (job.data.train, job.data.validation):
        if not refs:
            continue
        mixture = open_data(job, refs, verify="sizes")
        if mixture.num_samples.sum(dtype="int64") * 2 <= CHECKSUM_LIMIT_BYTES:
            mixture.check_checksums()
        fingerprints.append(mixture.fingerprint)
    return fingerprints[0]


def check_same_run(job: TrainJob, run: RunFolder, fingerprint: str) -> None:
    """Refuse a job that the run's checkpoints do not belong to, before anything of the run is touched.

    Raises:
        CheckpointError: Naming the parts that differ.
    """
    for checkpoint in reversed(list_checkpoints(run.checkpoints)):
        try:
            manifest = read_manifest(checkpoint)
        except CheckpointError:
            continue  # damaged; the workers report it and go on from the one before
        check_identity(manifest.identity, run_identity(job, fingerprint), run.place)
        return


def launch(
    job: TrainJob,
    *,
    resume: bool = True,
    address: str | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> RunResult:
    """Train a job to its end, or from where an earlier launch left it.

    Args:
        job: What to do.
        resume: False refuses to go on with a run that exists.
        address: Ray cluster; None joins the one the environment names or starts one on this machine.
        notify: Told what the user should know, such as utterances that are left out.

    Raises:
        UserError: When something is wrong before anything starts.
        RunFailedError: When the run failed.
    """
    job = settle_processors(job, survey(address), notify)
    run = run_folder(job)
    run.store.pull()
    if not resume and (list_checkpoints(run.checkpoints) or run.metrics.exists()):
        raise StorageError(f"{run.place}: this run exists; use another name, or --resume to go on with it")
    job = with_absolute_paths(job)
    with kept_open():
        fingerprint = check_data(job)
        run.create()
        return _launch(job, run, fingerprint, address, notify)


def _launch(
    job: TrainJob, run: RunFolder, fingerprint: str, address: str | None, notify: Callable[[str], None]
) -> RunResult:
    """Hold the run, settle what it begins from, and train."""
    with run.hold(notify):
        objective = objective_of(job)
        job = objective.begin(job, run)
        for part, census in objective.check(objective.localised(job, run)).items():
            run.event("utterances", part=part, **asdict(census))
            notify(f"{part}: {census}")
        check_same_run(job, run, fingerprint)
        end = finished_at(job, run)
        if end is not None:
            _say_finished(job, end, notify)
            return RunResult(folder=run.path, updates=end, place=run.place)
        tell_changes(changes_of(job, run), run, updates_made(run), notify)
        _record_start(job, run)
        with feed(run, make_sinks(job, run)):
            _train_with_ray(job, run, address)
    return RunResult(folder=run.path, updates=_last_update(run, job.updates), place=run.place)


def settle_processors(job: J, supply: Supply | None, notify: Callable[[str], None]) -> J:
    """Settle what workers compute on, and refuse what this machine can never give.

    Args:
        job: May say `worker.gpus: auto`.
        supply: What the cluster has; None where Ray is started on this machine.
        notify: Told what was chosen where a person could expect something else.

    Raises:
        UserError: When this machine lacks what workers need, with the remedy.
    """
    if supply is None:
        gpus = usable_gpus()
        job = settle_gpus(job, gpus, "this machine")
        refuse_here(job, gpus)
        return job
    gpus = int(max((node.get("GPU", 0.0) for node in supply.nodes), default=0.0))
    settled = settle_gpus(job, gpus, "the cluster")
    if job.worker.gpus == "auto" and not gpus and supply.autoscaler:
        notify(
            "worker.gpus: auto: no node of the cluster has a GPU now, so workers compute on CPUs; for nodes with GPUs "
            "that its autoscaler can start, write worker.gpus: 1"
        )
    return settled


def _record_start(job: TrainJob, run: RunFolder) -> None:
    write_text(run.spec, dump_job(job))
    run.store.push_start()
    elastic = job.elastic
    run.event("launch", min_workers=elastic.min_workers, max_workers=elastic.max_workers, gpus=job.worker.gpus)


def _say_finished(job: TrainJob, end: int, notify: Callable[[str], None]) -> None:
    if job.updates < end:
        notify(f"updates: {job.updates}, but this run has made {end} already; nothing is undone and nothing left to do")
    elif job.updates > end:
        notify(f"early_stopping ended this run at update {end}; raise early_stopping.patience to go on")
    else:
        notify("all updates were made before; raise updates to go on")


def _last_update(run: RunFolder, wanted: int) -> int:
    """Where the run ended: at the spec's last update, or before when it stopped early."""
    ends = [int(event["update"]) for event in read_lines(run.events) if event["event"] == "end"]
    return ends[-1] if ends else wanted


def _train_with_ray(job: TrainJob, run: RunFolder, address: str | None) -> None:
    set_ray_variables(job)
    cores = max(job.elastic.max_workers * job.worker.cpus, os.cpu_count() or 1)
    with (
        ray_cluster(address, num_cpus=cores, settings=own_cluster_settings()) as cluster,
        feed(run, [PrometheusSink(job)] if job.logging.prometheus else []),
    ):
        _fit(job, run, alone=cluster.started_here)


def _fit(job: TrainJob, run: RunFolder, *, alone: bool) -> None:
    from w2v2_ray.orchestration.demand import withdraw_request
    from w2v2_ray.orchestration.elastic_trainer import ElasticTrainer
    from w2v2_ray.orchestration.entry import train_worker
    from w2v2_ray.orchestration.living.supervisor import LivingTrainer

    fatal = f".fatal-{time.time_ns()}.json"
    config = {"job": job.model_dump(mode="json"), "run": run.place, "fatal": fatal}
    trainer_class = LivingTrainer if job.survivors_go_on else ElasticTrainer
    trainer = trainer_class(job, run, train_worker, config, name=f"launch-{time.time_ns()}", alone=alone)
    try:
        trainer.fit()
    except KeyboardInterrupt:
        trainer.stop()
        with contextlib.suppress(OSError):
            run.event("interrupted")
        raise
    except Exception as error:
        failure = _fatal_error(run, fatal)
        with contextlib.suppress(OSError):  # the storage may be why
            run.event("failed", reason=(failure.message if failure else str(error))[:2000])
        if failure is not None:
            raise failure from None
        raise RunFailedError(
            f"{run.place}: the workers failed again and again (failure.max_failures: {job.failure.max_failures}, or "
            f"{job.failure.max_failures_without_progress} in a row without progress) and the run gave up; everything "
            f"up to the last state is kept, and the same command resumes. Last error:\n{_root_cause(error)}"
        ) from error
    finally:
        withdraw_request(run.place)
    failure = _fatal_error(run, fatal)
    if failure is not None:
        raise failure


def _fatal_error(run: RunFolder, name: str) -> W2v2RayError | None:
    """The error that a worker left behind because no retry can mend it."""
    text = run.notes.read(name)
    if text is None:
        return None
    content = json.loads(text)
    run.notes.delete(name)
    kind = getattr(errors, content["type"], RunFailedError)
    failure: W2v2RayError = kind(content["message"])
    return failure


def _root_cause(error: BaseException) -> str:
    return "\n".join(str(error).strip().splitlines()[-15:])
