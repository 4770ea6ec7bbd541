"""The driver of a sweep: work out the points, run trials through Ray Tune, go on where an earlier driver stopped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from w2v2_ray.errors import DatasetError, RunFailedError, StorageError, UserError
from w2v2_ray.orchestration.cluster import ray_cluster, survey
from w2v2_ray.orchestration.launch import check_data, with_absolute_paths
from w2v2_ray.orchestration.supply import Supply, gpus_missing, settle_gpus
from w2v2_ray.orchestration.waiting import tell_of_waiting
from w2v2_ray.processors import usable_gpus
from w2v2_ray.run.lock import run_lock
from w2v2_ray.spec.sweep_loading import LoadedSweep
from w2v2_ray.tune.folder import SweepFolder
from w2v2_ray.tune.points import Point, Points, expand, interleaved
from w2v2_ray.tune.trial import TrialSettings, concat_trial, measure_trial, paired_trial, quality_trial

_SNAPSHOT_S = "2"
"""Between two snapshots of Ray Tune's state, from which a killed sweep resumes."""


@dataclass(frozen=True)
class Finished:
    """One trial that ended, as it is shown."""

    number: int
    total: int
    configuration: str
    result: dict[str, Any]


OnTrial = Callable[[Finished], None]
Notify = Callable[[str], None]


def sweep_folder(loaded: LoadedSweep) -> SweepFolder:
    """Where a sweep lives.

    Raises:
        StorageError: When the storage path is a URI.
    """
    storage = loaded.sweep.storage_path
    if "://" in storage:
        raise StorageError(f"storage_path: {storage}: sweeps are written to a folder, not to a URI; use a local path")
    return SweepFolder(Path(storage).expanduser().resolve() / loaded.sweep.name)


def run_sweep(
    loaded: LoadedSweep,
    *,
    address: str | None = None,
    dashboard: bool = False,
    notify: Notify = lambda message: None,
    on_trial: OnTrial = lambda finished: None,
) -> SweepFolder:
    """Measure every point of a sweep, those measured by an earlier driver excepted.

    Args:
        loaded: What to do.
        address: Ray cluster; None joins the one the environment names or starts one on this machine.
        dashboard: Start the dashboard of a Ray that is started here.
        notify: Told what the user should know.
        on_trial: Told of every trial that ends.

    Raises:
        UserError: When something is wrong before anything starts.
        RunFailedError: When no trial gave a figure, or Ray Tune failed.
    """
    points = expand(loaded)
    folder = sweep_folder(loaded)
    resources = _resources(loaded, points, survey(address))
    noise = _uses_noise(loaded, points, notify)
    folder.create()
    with run_lock(folder.path):
        begun = folder.claim(loaded)
        folder.keep_baseline(points.baseline.key)
        for place, point in enumerate(points.points):
            folder.keep_point(point, with_absolute_paths(point.trial_job), place)
        if not begun or loaded.sweep.search.method != "optuna":
            folder.keep_rejected(points.rejected)
        settings = _settings(loaded, folder, noise)
        _set_tune_variables()
        cores = max(loaded.sweep.concurrency * resources["cpu"], os.cpu_count() or 1)
        with ray_cluster(address, num_cpus=cores, dashboard=dashboard) as cluster:
            if cluster.dashboard:
                notify(f"Ray dashboard: {cluster.dashboard}")
            needs = {name.upper(): amount for name, amount in resources.items() if amount}
            with tell_of_waiting(needs, notify):
                _run_trials(loaded, points, folder, settings, resources, on_trial, notify)
    if not any(entry.ok for entry in folder.measurements):
        reasons = {entry.reason for entry in folder.measurements}
        raise RunFailedError(f"{folder.path}: no trial gave a figure: {'; '.join(filter(None, reasons))[:2000]}")
    return folder


def _uses_noise(loaded: LoadedSweep, points: Points, notify: Notify) -> bool:
    """Whether trials make their audio up; a dataset that they read is checked now."""
    sweep = loaded.sweep
    wanted = "dataset" if sweep.mode == "quality" else sweep.throughput.audio
    if wanted == "noise":
        return True
    try:
        check_data(with_absolute_paths(points.baseline.trial_job))
    except DatasetError as error:
        if wanted == "dataset" or loaded.base.job.kind != "pretrain":
            raise
        notify(f"throughput.audio: auto: measuring with noise, because there is no dataset: {error.message}")
        return True
    return False


def _settings(loaded: LoadedSweep, folder: SweepFolder, noise: bool) -> TrialSettings:
    sweep, throughput, quality = loaded.sweep, loaded.sweep.throughput, loaded.sweep.quality
    updates = (throughput.warmup_updates, throughput.timed_updates)
    if sweep.mode == "find_concat":
        updates = (1, 1)
    budget = quality.budget_updates
    if budget is None and quality.budget_s is None:
        budget = loaded.base.job.updates
    return TrialSettings(
        folder=str(folder.path),
        measure={
            "warmup_updates": updates[0],
            "timed_updates": updates[1],
            "noise": noise,
            "noise_s": throughput.noise_s,
            "memory_limit_bytes": throughput.memory_limit_bytes,
        },
        workers=throughput.workers,
        concurrency=sweep.concurrency,
        timeout_s=throughput.timeout_s,
        repeats=sweep.repeats,
        largest_concat=sweep.find_concat.largest,
        budget_updates=budget,
        budget_s=quality.budget_s,
        report_updates=quality.report_updates,
    )


def _resources(loaded: LoadedSweep, points: Points, supply: Supply | None) -> dict[str, float]:
    """What a trial asks Ray for; Ray gives the trial's processes the GPUs it sets aside.

    Raises:
        UserError: When this machine has not the GPUs, with the remedy.
    """
    gpus = usable_gpus() if supply is None else int(max((node.get("GPU", 0.0) for node in supply.nodes), default=0.0))
    job = settle_gpus(points.baseline.trial_job, gpus, "this machine" if supply is None else "the cluster")
    workers = 1 if loaded.sweep.mode == "quality" else loaded.sweep.throughput.workers or job.elastic.max_workers
    each = job.worker.gpu_count
    if supply is None and each * workers > gpus:
        raise UserError(gpus_missing(each, workers, gpus, key="base.set.worker.gpus"))
    return {"cpu": job.worker.cpus * workers, "gpu": each * workers}


def _set_tune_variables() -> None:
    # Workers must not change into a trial's folder: nothing here is relative to it.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", _SNAPSHOT_S)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ctrl-C is ours: Ray Tune would wait for its trials.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")


def _run_trials(
    loaded: LoadedSweep,
    points: Points,
    folder: SweepFolder,
    settings: TrialSettings,
    resources: dict[str, float],
    on_trial: OnTrial,
    notify: Notify,
) -> None:
    from ray import tune

    from w2v2_ray.tune.progress import ShowTrials

    order = _order(loaded, points)
    total = loaded.sweep.search.samples if order is None else len(order)
    trainable = tune.with_resources(partial(_TRAINABLES[_kind(loaded)], settings=settings), resources)
    param_space = {} if order is None else {"trial": tune.grid_search(order)}
    path = str(folder.tune)
    # The callback is new in every driver, and a snapshot holds the one of the driver that made it.
    ShowTrials.listener = _counting(sum(1 for _ in folder.measurements), total, on_trial)
    notify(f"TensorBoard: tensorboard --logdir {folder.tune}")
    if tune.Tuner.can_restore(path):
        # What is measured is in files of its own, so a trial that is run again answers at once.
        tuner = tune.Tuner.restore(
            path, trainable=trainable, resume_unfinished=True, restart_errored=True, param_space=param_space
        )
    else:
        shutil.rmtree(folder.tune, ignore_errors=True)  # killed before Ray Tune had written its state
        tuner = tune.Tuner(
            trainable,
            param_space=param_space,
            tune_config=_tune_config(loaded, points, folder),
            run_config=tune.RunConfig(
                name=folder.tune.name, storage_path=str(folder.path), callbacks=[ShowTrials()], verbose=0
            ),
        )
    results = tuner.fit()
    errors = [str(error) for error in results.errors]
    if errors and len(errors) == len(results):
        raise RunFailedError(f"{folder.path}: every trial failed in Ray: {errors[0][-2000:]}")


def _kind(loaded: LoadedSweep) -> str:
    return "paired" if loaded.sweep.search.method == "optuna" else loaded.sweep.mode


_TRAINABLES: dict[str, Callable[..., None]] = {
    "throughput": measure_trial,
    "paired": paired_trial,
    "find_concat": concat_trial,
    "quality": quality_trial,
}


def _order(loaded: LoadedSweep, points: Points) -> list[dict[str, Any]] | None:
    """The trials in their order; None where a search proposes them."""
    sweep = loaded.sweep
    if sweep.search.method == "optuna":
        return None
    repeats = 1 if sweep.mode == "find_concat" else sweep.repeats
    order = interleaved(points.points, repeats, sweep.search.seed)
    return [_config(point, repeat) for point, repeat in order]


def _config(point: Point, repeat: int) -> dict[str, Any]:
    values = {
        path: value if isinstance(value, (int, float, str)) else str(value) for path, value in point.values.items()
    }
    return {"configuration": point.label, "repeat": repeat, "key": point.key, "parameters": values}


def _tune_config(loaded: LoadedSweep, points: Points, folder: SweepFolder) -> Any:
    from ray import tune

    sweep = loaded.sweep
    options: dict[str, Any] = {
        "max_concurrent_trials": sweep.concurrency,
        "trial_name_creator": _trial_name,
        "trial_dirname_creator": _trial_name,
        "reuse_actors": False,
    }
    if sweep.search.method == "optuna":
        from w2v2_ray.tune.searcher import ValidPoints, optuna_search

        inner = optuna_search(loaded.parameters, sweep.search.seed)
        options["search_alg"] = ValidPoints(inner, loaded, str(folder.path), points.baseline.key)
        options["num_samples"] = sweep.search.samples
    if sweep.mode == "quality" and sweep.quality.asha is not None:
        from ray.tune.schedulers import ASHAScheduler

        asha = sweep.quality.asha
        options["scheduler"] = ASHAScheduler(
            time_attr="update",
            metric="loss",
            mode="min",
            grace_period=asha.grace_updates,
            reduction_factor=asha.reduction_factor,
            # Above the budget, which ends a trial by itself: what reaches it is finished, not stopped.
            max_t=max(sweep.quality.budget_updates or loaded.base.job.updates, asha.grace_updates) + 1,
        )
    return tune.TuneConfig(**options)


def _trial_name(trial: Any) -> str:
    """A name that the dashboard and TensorBoard can show, and a file system keep."""
    config = trial.config.get("trial", trial.config)
    text = f"{config.get('configuration', 'trial')}-{config.get('repeat', config.get('number', 0))}"
    plain = "".join(c if c.isalnum() or c in "=.-" else "_" for c in text)
    return f"{plain[:60]}-{trial.trial_id}"


def _counting(seen: int, total: int, on_trial: OnTrial) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def listen(config: dict[str, Any], result: dict[str, Any]) -> None:
        nonlocal seen
        seen += 1
        config = config.get("trial", config)
        on_trial(Finished(min(seen, total), total, str(config.get("configuration", "trial")), result))

    return listen
