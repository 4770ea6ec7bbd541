"""Of Ray Train: policies, their decisions and states. Importing this imports Ray Train.

Ray Train lets a failure or scaling policy be replaced, but its base classes, and what a controller tells callbacks,
have no public names.
"""

from __future__ import annotations

from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.context import get_train_context
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

__all__ = [
    "AUTOSCALING_REQUESTS_GET_TIMEOUT_S",
    "ControllerCallback",
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
]


def is_preempted() -> bool:
    """On a worker: whether its node is about to be taken away.

    The public `ray.train.get_preemption_info` is a barrier; the trainer's own sum tells the other workers for nothing.
    """
    return get_train_context().preemption_context.preemption_info is not None
