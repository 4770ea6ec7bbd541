"""Of Ray Train: policies, their decisions and states. Importing this imports Ray Train.

Ray Train lets a failure or scaling policy be replaced, but its base classes, and what a controller tells callbacks,
have no public names.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from typing import Any

import ray
from ray._raylet import RAY_NODE_ID_KEY  # type: ignore[attr-defined]  # a compiled module
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR, get_env_vars_to_propagate
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.context import get_train_context
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.controller.state import ReschedulingState, RunningState
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
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

__all__ = [
    "AUTOSCALING_REQUESTS_GET_TIMEOUT_S",
    "ControllerCallback",
    "ControllerHost",
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
    "without_idle_actors",
]


_NO_LOGGING = {ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR: "0"}
"""Each controller would set up the logging of the process anew, and two of them wait for each other's locks."""
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
        _reserved.handles.append(handle)
        return handle


class _TidyController(TrainController):
    worker_group_cls = _TidyWorkerGroup


class _Controllers:
    """Controllers of several runs in one process: each would otherwise be one that imports all of Ray Train."""

    def __init__(self) -> None:
        self._making = threading.Lock()

    def run(self, settings: dict[str, Any]) -> Any:
        """Run one to its end; returns its error where it has one."""

        async def to_the_end() -> Any:
            with self._making:
                controller = _TidyController(**settings)
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
    """

    def __init__(self, runs: int) -> None:
        host_class: Any = ray.remote(
            num_cpus=0,
            max_concurrency=runs,
            label_selector={RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()},
            runtime_env={"env_vars": {**get_env_vars_to_propagate(), **_NO_LOGGING}},
        )(_Controllers)
        self._host = host_class.remote()

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
