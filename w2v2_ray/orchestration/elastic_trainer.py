"""Ray Train's trainer with our scaling and failure policies. Ray has no public way to choose them."""

from __future__ import annotations

import math
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig

from w2v2_ray.orchestration.demand import FixedPolicy
from w2v2_ray.orchestration.events import ClusterEvents
from w2v2_ray.orchestration.failures import NewestState, PatientFailurePolicy
from w2v2_ray.orchestration.scaling import ElasticPolicy, ResizeRule
from w2v2_ray.orchestration.settings import ray_variables
from w2v2_ray.orchestration.stoppable import StoppableTrainer
from w2v2_ray.orchestration.supply import needs_of
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob


class ElasticTrainer(StoppableTrainer):
    """A TorchTrainer for one job.

    Args:
        job: Says how many workers, what each needs, and what is survived.
        run: The run, as the driver sees it.
        train_loop: Runs on every worker.
        config: Given to it.
        name: Of this launch; Ray would silently resume a name that it knows.
    """

    def __init__(self, job: TrainJob, run: RunFolder, train_loop: Any, config: dict[str, Any], name: str) -> None:
        elastic = job.elastic
        self._rule = ResizeRule(elastic.stable_s, elastic.resize_interval_s)
        self._place = run.place
        self._max_without_progress = job.failure.max_failures_without_progress
        fixed = elastic.min_workers == elastic.max_workers
        on_gpus = job.worker.gpu_count > 0
        super().__init__(
            train_loop,
            train_loop_config=config,
            torch_config=TorchConfig(
                backend="nccl" if on_gpus and job.engine.device != "cpu" else "gloo",
                timeout_s=math.ceil(job.failure.join_timeout_s),
            ),
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

    def _initialize_and_run_controller(self, **controller_init_kwargs: Any) -> Any:
        kwargs = dict(controller_init_kwargs)
        kwargs["failure_policy"] = PatientFailurePolicy(
            self.run_config.failure_config, NewestState(self._place), self._max_without_progress
        )
        kwargs["scaling_policy"] = (
            ElasticPolicy(self.scaling_config, self._rule, self._place)
            if self.scaling_config.elasticity_enabled
            else FixedPolicy(self.scaling_config, self._place)
        )
        return super()._initialize_and_run_controller(**kwargs)
