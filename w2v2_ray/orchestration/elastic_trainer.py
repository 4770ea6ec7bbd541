"""Ray Train's trainer with our scaling and failure policies. Ray has no public way to choose them."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.backend import BackendConfig

from w2v2_ray.orchestration.demand import FixedPolicy
from w2v2_ray.orchestration.events import ClusterEvents
from w2v2_ray.orchestration.failures import NewestState, PatientFailurePolicy
from w2v2_ray.orchestration.ray_private.process_group import GlooConfig
from w2v2_ray.orchestration.ray_private.train import DataParallelTrainer, start_controller
from w2v2_ray.orchestration.scaling import ElasticPolicy, ResizeRule
from w2v2_ray.orchestration.settings import ray_variables
from w2v2_ray.orchestration.supply import needs_of
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob

_ABORT_S = 4.0


def group_config(job: TrainJob) -> BackendConfig:
    """How a job's workers find each other, and over what they talk."""
    timeout_s = math.ceil(job.failure.join_timeout_s)
    if job.worker.gpu_count == 0 or job.engine.device == "cpu":
        return GlooConfig(timeout_s)
    from ray.train.torch import TorchConfig

    return TorchConfig(backend="nccl", timeout_s=timeout_s)


class ElasticTrainer(DataParallelTrainer):
    """Ray Train's trainer for one job.

    Args:
        job: Says how many workers, what each needs, and what is survived.
        run: The run, as the driver sees it.
        train_loop: Runs on every worker.
        config: Given to it.
        name: Of this launch; Ray would silently resume a name that it knows.
        alone: Ray was started by this driver, for this run: its nodes have the driver's environment, and no
            autoscaler can be asked for more.
    """

    def __init__(
        self,
        job: TrainJob,
        run: RunFolder,
        train_loop: Any,
        config: dict[str, Any],
        name: str,
        *,
        alone: bool = False,
    ) -> None:
        elastic = job.elastic
        self._alone = alone
        self._controller: Any = None
        self._rule = ResizeRule(elastic.stable_s, elastic.resize_interval_s)
        self._place = run.place
        self._max_without_progress = job.failure.max_failures_without_progress
        fixed = elastic.min_workers == elastic.max_workers
        on_gpus = job.worker.gpu_count > 0
        super().__init__(
            train_loop,
            train_loop_config=config,
            backend_config=group_config(job),
            scaling_config=ScalingConfig(
                num_workers=elastic.max_workers if fixed else (elastic.min_workers, elastic.max_workers),
                use_gpu=on_gpus,
                resources_per_worker=needs_of(job),
            ),
            run_config=RunConfig(
                name=name,
                storage_path=str(run.path / "ray"),
                failure_config=FailureConfig(max_failures=job.failure.max_failures, max_preemption_failures=-1),
                callbacks=[ClusterEvents(run.own_events, ray_variables(job))],
            ),
        )

    def stop(self) -> None:
        """End the workers, for a driver that was interrupted. Never waits long.

        Ray would ask the controller from within the signal's handler and wait for its answer, which never comes while
        it waits for a node. States are whole whenever their workers end.
        """
        if self._controller is None:
            return
        with contextlib.suppress(Exception):  # it may have ended, or the cluster with it
            ray.get(self._controller.abort.remote(), timeout=_ABORT_S)
        with contextlib.suppress(Exception):
            ray.kill(self._controller)

    def _initialize_and_run_controller(self, **controller_init_kwargs: Any) -> Any:
        """Leaves Ctrl-C to the driver, which calls `stop`, where Ray's would handle it."""
        settings = dict(controller_init_kwargs)
        settings["failure_policy"] = PatientFailurePolicy(
            self.run_config.failure_config, NewestState(self._place), self._max_without_progress
        )
        settings["scaling_policy"] = (
            ElasticPolicy(self.scaling_config, self._rule, self._place)
            if self.scaling_config.elasticity_enabled
            else FixedPolicy(self.scaling_config, self._place, asks=not self._alone)
        )
        self._controller = start_controller(settings, inherit=self._alone)
        ray.get(self._controller.run.remote())
        return ray.get(self._controller.get_result.remote())
