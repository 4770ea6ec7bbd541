"""How many workers to run with, and when to change it."""

from __future__ import annotations

import contextlib
import time
from functools import cached_property
from typing import Any

import ray

from w2v2_ray.errors import StorageError
from w2v2_ray.orchestration.demand import RunRequest
from w2v2_ray.orchestration.nodes import unreachable_nodes
from w2v2_ray.orchestration.ray_private.core import draining_nodes
from w2v2_ray.orchestration.ray_private.train import (
    AUTOSCALING_REQUESTS_GET_TIMEOUT_S,
    ElasticScalingPolicy,
    NoopDecision,
    ReschedulingState,
    RunningState,
    ScalingDecision,
    WorkerGroupStartupTimeoutError,
)
from w2v2_ray.run import names
from w2v2_ray.run.folder import RunFolder

_LOOK_INTERVAL_S = 1.0
_REFUSAL_S = 300.0
_SNAPSHOT_PATIENCE_S = 15.0


class ResizeRule:
    """Decides whether a running group is to be resized: not for every node that flaps.

    Args:
        stable_s: A new size must have been possible for so long.
        interval_s: Least time since the group was started.
    """

    def __init__(self, stable_s: float, interval_s: float) -> None:
        self._stable_s = stable_s
        self._interval_s = interval_s
        self._candidate: int | None = None
        self._since = 0.0

    def wants(self, current: int, possible: int, *, now: float, started: float) -> bool:
        """Whether to resize from `current` to `possible` workers; times are of one monotonic clock, in seconds."""
        if possible == current:
            self._candidate = None
            return False
        if possible != self._candidate:
            self._candidate, self._since = possible, now
        return now - self._since >= self._stable_s and now - started >= self._interval_s


class SnapshotRequest:
    """Asks the workers for a state before they are stopped on purpose, so that nothing is computed twice.

    Args:
        run: The run.
        patience_s: A resize does not wait longer for it.
    """

    def __init__(self, run: RunFolder, patience_s: float = _SNAPSHOT_PATIENCE_S) -> None:
        self._run = run
        self._patience_s = patience_s
        self._asked: float | None = None
        self._before: set[str] = set()

    @property
    def pending(self) -> bool:
        """Asked for and not yet answered."""
        return self._asked is not None

    def answered(self, now: float) -> bool:
        """Ask if that has not been done; true once a new state is there, or has been waited for long enough."""
        try:
            states = {*self._run.state_names()}
            if self._asked is None:
                self._asked, self._before = now, states
                self._run.notes.write(names.STATE_REQUEST, str(time.time_ns()))
                return False
        except (OSError, StorageError):
            return True
        if states - self._before or now - self._asked >= self._patience_s:
            self.withdraw()
            return True
        return False

    def withdraw(self) -> None:
        """Ask no longer."""
        self._asked = None
        with contextlib.suppress(OSError, StorageError):  # the storage may be away
            self._run.notes.delete(names.STATE_REQUEST)


class ElasticPolicy(RunRequest, ElasticScalingPolicy):
    """Ray's elastic policy with a fresh view of the cluster, hysteresis, and a snapshot before a resize.

    Ray's own counts nodes as of up to 20 s ago, dead and draining ones included.

    Args:
        scaling_config: Ray's.
        rule: When a running group is resized.
        run: The run's folder or URI.
    """

    def __init__(self, scaling_config: Any, rule: ResizeRule, run: str) -> None:
        super().__init__(scaling_config, run)
        self._rule = rule
        self._last_look = float("-inf")
        self._refused: tuple[int, frozenset[str]] | None = None
        self._refused_at = 0.0
        self._nodes: frozenset[str] = frozenset()
        self._attempted = 0

    @cached_property
    def _request(self) -> SnapshotRequest:
        return SnapshotRequest(self._run)

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Start with what the cluster has now."""
        self._request.withdraw()
        decision = super().make_decision_for_non_running_worker_group()
        if isinstance(decision, NoopDecision):
            return self._wait(self.scaling_config.min_workers)
        self._attempted = decision.num_workers
        return decision

    def make_decision_for_running_worker_group(self, worker_group_state: Any, worker_group_status: Any) -> Any:
        """Resize when the rule says so and a snapshot has been taken."""
        self._maybe_send_resource_request()
        now = time.monotonic()
        # Every update after the snapshot would be computed twice, so its arrival is watched for more closely.
        if now - self._last_look < _LOOK_INTERVAL_S and not self._request.pending:
            return NoopDecision()
        self._last_look = now
        reserved = self._get_reserved_resources()
        if reserved is None:
            return NoopDecision()
        possible = self._count_possible_workers(reserved)
        if possible < self.scaling_config.min_workers or not self._rule.wants(
            worker_group_state.num_workers, possible, now=now, started=worker_group_state.start_time
        ):
            if self._request.pending:
                self._request.withdraw()
            return NoopDecision()
        if not self._request.answered(now):
            return NoopDecision()
        self._attempted = possible
        return self._get_resize_decision(possible)

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Remember sizes that could not be started: others may use what Ray counts as ours."""
        super().after_controller_state_update(previous_state, current_state)
        if isinstance(current_state, ReschedulingState):
            error = current_state.training_failed_error
            if isinstance(getattr(error, "controller_failure", None), WorkerGroupStartupTimeoutError):
                self._refused = (self._attempted, self._nodes)
                self._refused_at = time.monotonic()
        elif isinstance(current_state, RunningState) and self._refused and self._attempted >= self._refused[0]:
            self._refused = None

    def _get_reserved_resources(self) -> Any:
        try:
            reserved = ray.get(
                self._autoscaling_coordinator.get_reserved_resources.remote(self._requester_id, recompute=True),
                timeout=AUTOSCALING_REQUESTS_GET_TIMEOUT_S,
            )
            gone = draining_nodes() | unreachable_nodes(n for n in ray.nodes() if n["NodeID"] in reserved)
        except Exception:
            return None
        return {node: resources for node, resources in reserved.items() if node not in gone}

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        self._nodes = frozenset(reserved_resources)
        possible = int(super()._count_possible_workers(reserved_resources))
        if self._refused is not None:
            size, nodes = self._refused
            if nodes != self._nodes or time.monotonic() - self._refused_at > _REFUSAL_S:
                self._refused = None
            elif possible >= size > self.scaling_config.min_workers:
                return size - 1
        return possible


def request_of(run: RunFolder) -> str | None:
    """When a snapshot was asked for, which tells requests apart; None when none is."""
    try:
        return run.notes.recent(names.STATE_REQUEST) or None
    except (OSError, StorageError):
        return None
