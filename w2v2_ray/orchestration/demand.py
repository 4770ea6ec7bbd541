"""What a run asks of its cluster: room for all its workers, for as long as it lasts.

Ray Train tells Ray's coordinator, which tells the autoscaler; that starts nodes until the request fits and, where its
limits or the market forbid, as many as it can. The run starts with what is there (at least `elastic.min_workers`).
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from functools import cached_property
from typing import Any

import ray

from w2v2_ray.orchestration.ray_private.train import (
    FixedScalingPolicy,
    NoopDecision,
    RunningState,
    ScalingDecision,
    ScalingPolicy,
    TrainAutoscalingCoordinatorClient,
)
from w2v2_ray.orchestration.waiting import WaitingNote
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.run.opening import open_run

_COORDINATOR = "AutoscalingCoordinator"
_CANCEL_TIMEOUT_S = 2.0
_LOOK_AGAIN_S = 0.5
"""The controller decides without a pause while it has no workers."""


def requester_of(run: str) -> str:
    """The name under which a run's controller asks for resources, whichever launch of it asks.

    Ray would make up a new one for each launch, and what a killed driver had asked for would stay reserved, and its
    nodes up, until it expires after three minutes.

    Args:
        run: Folder or URI of the run.
    """
    return f"w2v2-ray-{hashlib.sha256(run.encode()).hexdigest()[:24]}"


class RunRequest(ScalingPolicy):
    """Mixed into a scaling policy, asks under the run's own name, so that a later launch takes the request over.

    Args:
        scaling_config: Ray's.
        run: Folder or URI of the run.
        asks: False where there is no autoscaler: whom to ask would be a process for nothing.
    """

    def __init__(self, scaling_config: Any, run: str, *, asks: bool = True) -> None:
        super().__init__(scaling_config)
        self._asks = asks
        self._requester_id = requester_of(run)
        self._place = run

    # Opened in the controller, to which the policy travels: a connection to a store does not.

    @cached_property
    def _run(self) -> RunFolder:
        # The controller has workers to look after: it never waits long for a store.
        return open_run(self._place, "driver", patience_s=0.0)

    @cached_property
    def _waiting(self) -> WaitingNote:
        return WaitingNote(self._run.event)

    def after_controller_start(self, train_run_context: Any) -> None:
        """Ask for all workers."""
        if not self._asks:
            return
        self._coordinator_client = TrainAutoscalingCoordinatorClient(self._requester_id)
        # Of a launch that was killed: its size may have been another.
        self._cancel_resource_request()
        self._send_resource_request()

    def _maybe_send_resource_request(self) -> None:
        if self._asks:
            super()._maybe_send_resource_request()

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """What is waited for after this is told anew."""
        if isinstance(current_state, RunningState):
            self._waiting.over()

    def _wait(self, workers: int) -> NoopDecision:
        """Decide to start nothing now, and tell what is waited for.

        Args:
            workers: The least to start with.
        """
        self._waiting.look(self.scaling_config._resources_per_worker_not_none, workers)
        time.sleep(_LOOK_AGAIN_S)
        return NoopDecision()


class FixedPolicy(RunRequest, FixedScalingPolicy):
    """Ray's policy for runs of one size, but no start is tried that cannot be."""

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Start once the cluster's nodes are large enough."""
        workers = int(self.scaling_config.num_workers)
        needs = self.scaling_config._resources_per_worker_not_none
        if not self._waiting.room(needs, workers):
            self._maybe_send_resource_request()
            return self._wait(workers)
        self._waiting.look(needs, workers)
        return super().make_decision_for_non_running_worker_group()


def withdraw_request(run: str) -> None:
    """Ask for nothing any more; the autoscaler takes idle nodes away. For the driver, whatever ended the run.

    The controller does so itself when it ends in order, but not when the job is stopped and takes it along.
    """
    # Asking for an actor where nothing is connected would start a cluster.
    if not ray.is_initialized():
        return
    with contextlib.suppress(Exception):  # no coordinator, or the cluster is gone
        coordinator = ray.get_actor(_COORDINATOR, namespace=_COORDINATOR)
        ray.get(coordinator.cancel_request.remote(requester_of(run)), timeout=_CANCEL_TIMEOUT_S)
