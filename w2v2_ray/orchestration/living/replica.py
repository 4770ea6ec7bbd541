"""One worker of a living crew: a Ray Train run of its own, so that its end touches no other."""

from __future__ import annotations

import shutil
import threading
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig

from w2v2_ray.orchestration.events import ClusterEvents
from w2v2_ray.orchestration.ray_private.train import ControllerHost, DataParallelTrainer, FixedScalingPolicy
from w2v2_ray.orchestration.settings import ray_variables
from w2v2_ray.orchestration.supply import needs_of
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob


class _AsksForNothing(FixedScalingPolicy):
    """The driver asks the autoscaler for all workers of the run together."""

    def after_controller_start(self, train_run_context: Any) -> None:
        """Ask for nothing."""

    def _maybe_send_resource_request(self) -> None:
        """Ask for nothing."""


class _NodeEvents(ClusterEvents):
    """Tells of drained nodes; what ends a worker, the driver tells."""

    def _tell(self, errors: dict[int, BaseException]) -> None:
        """Leave it to the driver."""

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """A start that found no room is tried again by Ray, and no event."""


class _ReplicaTrainer(DataParallelTrainer):
    """A run whose controller lives in a process with others."""

    host: ControllerHost

    def _initialize_and_run_controller(self, **controller_init_kwargs: Any) -> Any:
        settings = {**controller_init_kwargs, "scaling_policy": _AsksForNothing(self.scaling_config)}
        return self.host.run(settings)


class Replica:
    """A worker that is starting, running or over.

    Args:
        job: The spec.
        run: The run, as the driver sees it.
        train_loop: What the worker runs.
        config: Given to it.
        launch: Name of this launch.
        name: Of the replica.
        host: Runs its controller.

    Attributes:
        called: It has called the coordinator.
        error: Why it ended, when not in order.
    """

    def __init__(
        self,
        job: TrainJob,
        run: RunFolder,
        train_loop: Any,
        config: dict[str, Any],
        *,
        launch: str,
        name: str,
        host: ControllerHost,
    ) -> None:
        self.name = name
        self.called = False
        self.error: BaseException | None = None
        self._folder = run.path / "ray" / f"{launch}-{name}"
        self._trainer = _ReplicaTrainer(
            train_loop,
            train_loop_config=config,
            scaling_config=ScalingConfig(
                num_workers=1, use_gpu=job.worker.gpu_count > 0, resources_per_worker=needs_of(job)
            ),
            run_config=RunConfig(
                name=self._folder.name,
                storage_path=str(self._folder.parent),
                failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
                callbacks=[_NodeEvents(run.own_events, ray_variables(job))],
            ),
        )
        self._trainer.host = host
        self._thread = threading.Thread(target=self._fit, name=f"w2v2-ray-{name}", daemon=True)
        self._thread.start()

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:
            self.error = error
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()
