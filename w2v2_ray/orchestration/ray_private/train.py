"""Of Ray Train: policies, their decisions and states. Importing this imports Ray Train.

Ray Train lets a failure or scaling policy be replaced, but its base classes, and what a controller tells callbacks,
have no public names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import ray
from ray._raylet import RAY_NODE_ID_KEY  # type: ignore[attr-defined]  # a compiled module
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.callbacks.preemption_callback import PreemptionCallback
from ray.train.v2._internal.constants import (
    DEFAULT_RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_VALUE,
    ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR,
    RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR,
    get_env_vars_to_propagate,
)
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.context import get_train_context
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.controller.state import ReschedulingState, RunningState
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.preemption import PreemptionWatcher
from ray.train.v2._internal.execution.scaling_policy import (
    AUTOSCALING_REQUESTS_GET_TIMEOUT_S,
    ElasticScalingPolicy,
    FixedScalingPolicy,
    NoopDecision,
    ScalingDecision,
)
from ray.train.v2._internal.execution.scaling_policy.autoscaling_coordinator_client import (
    TrainAutoscalingCoordinatorClient,
)
from ray.train.v2._internal.execution.scaling_policy.scaling_policy import ScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

__all__ = [
    "AUTOSCALING_REQUESTS_GET_TIMEOUT_S",
    "ControllerCallback",
    "ControllerHost",
    "DataParallelTrainer",
    "DefaultFailurePolicy",
    "ElasticScalingPolicy",
    "FailureDecision",
    "FixedScalingPolicy",
    "NoopDecision",
    "ReschedulingState",
    "RunningState",
    "ScalingDecision",
    "ScalingPolicy",
    "TrainAutoscalingCoordinatorClient",
    "WorkerGroupCallback",
    "WorkerGroupStartupTimeoutError",
    "is_preempted",
    "start_controller",
    "without_idle_actors",
]


_IDLE = (DatasetsCallback, PlacementGroupCleanerCallback)
"""Each starts an actor, two seconds of a processor: one for Ray Data, which we do not use, and one that removes what a
controller that was killed had reserved, which Ray's core does when its job ends."""


def without_idle_actors(callbacks: Sequence[Any]) -> list[Any]:
    """A controller's callbacks without those whose actors do nothing for us."""
    return [callback for callback in callbacks if not isinstance(callback, _IDLE)]


def is_preempted() -> bool:
    """On a worker: whether its node is about to be taken away.

    The public `ray.train.get_preemption_info` is a barrier; the trainer's own sum tells the other workers for nothing.
    """
    return get_train_context().preemption_context.preemption_info is not None


_reserved = threading.local()
"""`handles`: what the controller of this thread has reserved."""


class _TidyWorkerGroup(WorkerGroup):
    """Remembers what it reserves: of a group whose worker died while it was started, Ray's own forgets it."""

    def _create_placement_group(self, *given: Any) -> Any:
        handle = super()._create_placement_group(*given)
        getattr(_reserved, "handles", []).append(handle)
        return handle


class _HeirWorkerGroup(_TidyWorkerGroup):
    """Workers that have the driver's environment from the node, which the driver has started.

    Ray would give them the same variables once more as a runtime environment, for which it starts a process that
    imports Ray, to become another that imports Ray, while those that are ready wait in vain.
    """

    @staticmethod
    def _get_worker_runtime_env(custom_runtime_env: Any) -> Any:
        return dict(custom_runtime_env)


class _WatchHere(PreemptionCallback):
    """Looks for drained nodes on a thread of the controller; Ray starts an actor for it, over a CPU second a group."""

    def after_worker_group_start(self, worker_group: Any) -> None:
        self._stop_watcher()
        ranks: dict[str, list[int]] = defaultdict(list)
        actors = {}
        for worker in worker_group.get_workers():
            rank = worker.distributed_context.world_rank
            ranks[worker.metadata.node_id].append(rank)
            actors[rank] = worker.actor
        self._watcher: Any = PreemptionWatcher(dict(ranks), self._poll_interval_s, actors)

    def _stop_watcher(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher._stop_event.set()


class _TidyController(TrainController):
    worker_group_cls = _TidyWorkerGroup

    def __init__(self, *given: Any, **settings: Any) -> None:
        os.environ.setdefault(
            RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_ENV_VAR, DEFAULT_RAY_WARN_BLOCKING_GET_INSIDE_ASYNC_VALUE
        )
        super().__init__(*given, **settings)
        callbacks: list[Any] = vars(self)["_worker_group_callbacks_to_propagate"]
        callbacks[:] = [_WatchHere() if isinstance(given, PreemptionCallback) else given for given in callbacks]


class _HeirController(_TidyController):
    worker_group_cls = _HeirWorkerGroup


def _controller_options(*, inherit: bool) -> dict[str, Any]:
    """Of an actor on the driver's node, with the driver's variables that Ray Train reads."""
    options = {"num_cpus": 0, "label_selector": {RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}}
    return options if inherit else {**options, "runtime_env": {"env_vars": get_env_vars_to_propagate()}}


def start_controller(settings: dict[str, Any], *, inherit: bool) -> Any:
    """Start the controller of a run, as Ray's trainer does, without helpers that do nothing for us.

    Args:
        settings: What the trainer gives it.
        inherit: Nodes have the driver's environment: it has started them.

    Returns:
        The actor.
    """
    controller = _HeirController if inherit else _TidyController
    actor_class: Any = ray.remote(**_controller_options(inherit=inherit))(controller)
    return actor_class.remote(**{**settings, "callbacks": without_idle_actors(settings["callbacks"])})


class _Controllers:
    """Controllers of several runs in one process: each would otherwise be one that imports all of Ray Train."""

    def __init__(self, *, inherit: bool) -> None:
        # Each controller would set up the logging of the process anew, and two of them wait for each other's locks.
        os.environ[ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR] = "0"
        self._making = threading.Lock()
        self._controller = _HeirController if inherit else _TidyController

    def run(self, settings: dict[str, Any]) -> Any:
        """Run one to its end; returns its error where it has one."""

        async def to_the_end() -> Any:
            with self._making:
                controller = self._controller(**settings)
            await controller.run()
            return controller.get_result()

        _reserved.handles = []
        try:
            return asyncio.run(to_the_end())
        except Exception as error:
            return error
        finally:
            for handle in _reserved.handles:
                with contextlib.suppress(Exception):  # the control store may be busy; Ray frees it with the job
                    handle.shutdown()


class ControllerHost:
    """Runs the controllers of many Ray Train runs of one worker each, on the driver's node.

    Ray Train itself gives every run a controller process, which for runs of one worker doubles what a start costs.

    Args:
        runs: At most at once.
        inherit: Nodes have the driver's environment: it has started them.
    """

    def __init__(self, runs: int, *, inherit: bool) -> None:
        host_class: Any = ray.remote(max_concurrency=runs, **_controller_options(inherit=inherit))(_Controllers)
        self._host = host_class.remote(inherit=inherit)

    def run(self, settings: dict[str, Any]) -> Any:
        """Run a controller to its end.

        Args:
            settings: What the trainer gives it.

        Returns:
            The run's result.
        """
        callbacks = without_idle_actors(settings["callbacks"])
        result = ray.get(self._host.run.remote({**settings, "callbacks": callbacks}))
        if isinstance(result, BaseException):
            raise result
        return result

    def stop(self) -> None:
        """End all of them; their workers and what they reserved go with them."""
        with contextlib.suppress(Exception):  # it has ended, or the cluster with it
            ray.kill(self._host)
