"""Writes what happens to workers and nodes into the run's events. Lives in Ray Train's controller."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import ray

from w2v2_ray.orchestration.failures import Ending, classify
from w2v2_ray.orchestration.nodes import unreachable_nodes
from w2v2_ray.orchestration.ray_private.train import ControllerCallback, ReschedulingState, WorkerGroupCallback
from w2v2_ray.run.folder import write_event

_PING_TIMEOUT_S = 2.0


class ClusterEvents(WorkerGroupCallback, ControllerCallback):
    """Told by the controller, it tells `events.jsonl`.

    Args:
        events: The driver's file of events, on its node: the controller runs there.
        variables: Environment variables for the controller; Ray passes on only some of the driver's.
    """

    def __init__(self, events: Path, variables: dict[str, str]) -> None:
        self._events = events
        self._variables = variables
        self._size: int | None = None
        self._workers: list[Any] = []
        self._told_failure = False
        self._told_drain: tuple[str, ...] = ()

    def _event(self, name: str, **details: Any) -> None:
        # The storage may be away or full; training must not end of an event that is not written down.
        with contextlib.suppress(OSError):
            write_event(self._events, name, **details)

    def after_controller_start(self, train_run_context: Any) -> None:
        """Set what Ray reads from the controller's own environment."""
        for name, value in self._variables.items():
            os.environ.setdefault(name, value)

    def before_controller_execute_resize_decision(self, resize_decision: Any) -> None:
        """A group is about to be started."""
        size = int(resize_decision.num_workers)
        if self._size is not None and size != self._size:
            self._event("resize", **{"from": self._size, "to": size})
        self._size = size

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """A group that could not be started."""
        if isinstance(current_state, ReschedulingState):
            reason = str(current_state.training_failed_error).strip().splitlines()
            self._event("start_failed", workers=self._size, reason=reason[-1][:500] if reason else "")

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Remember who is where."""
        self._workers = list(worker_group.get_workers())
        self._told_failure = False
        self._told_drain = ()

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        """Tell of a drain and of errors, once a group each."""
        notice = worker_group_status.get_preemption_info()
        if notice is not None and self._told_drain != tuple(notice.preempted_node_ids):
            self._told_drain = tuple(notice.preempted_node_ids)
            left_s = None if notice.deadline_ms is None else round(notice.deadline_ms / 1000 - time.time(), 1)
            self._event("node_drained", nodes=self._told_drain, ranks=notice.preempted_ranks, deadline_in_s=left_s)
        if worker_group_status.errors and not self._told_failure:
            self._told_failure = True
            self._tell(worker_group_status.errors)

    def _tell(self, errors: dict[int, BaseException]) -> None:
        endings = {rank: classify(error) for rank, error in errors.items()}
        if all(ending.cause == "collateral" for ending in endings.values()):
            endings |= self._silent({*range(len(self._workers))} - {*endings})
        causes = {rank: ending for rank, ending in endings.items() if ending.cause != "collateral"} or endings
        lost = [rank for rank, ending in causes.items() if ending.cause == "worker_lost"]
        dead_nodes = self._dead_nodes(lost)
        for rank, ending in sorted(causes.items()):
            node = self._node(rank)
            cause = "worker_lost" if ending.cause == "collateral" else ending.cause
            if cause == "worker_lost" and node in dead_nodes:
                cause = "node_lost"
            if cause != "left":  # the workers have told of it
                self._event(cause, rank=rank, node=node, reason=ending.text)
            if cause == "worker_hung":
                # It would be waited for in vain while the group is taken down.
                ray.kill(self._workers[rank].actor)

    def _silent(self, ranks: set[int]) -> dict[int, Ending]:
        """Pick the workers that do not answer any more, and why: others only reported that they lost a peer."""
        pings = {self._workers[rank].actor.get_metadata.remote(): rank for rank in ranks}
        if not pings:
            return {}
        done, waiting = ray.wait(list(pings), num_returns=len(pings), timeout=_PING_TIMEOUT_S)
        found = {pings[ping]: Ending("worker_hung", "it does not answer") for ping in waiting}
        for ping in done:
            try:
                ray.get(ping)
            except Exception as error:
                found[pings[ping]] = classify(error)
        return found

    def _node(self, rank: int) -> str:
        return str(self._workers[rank].metadata.node_id) if rank < len(self._workers) else ""

    def _dead_nodes(self, ranks: list[int]) -> set[str]:
        wanted = {self._node(rank) for rank in ranks}
        try:
            return unreachable_nodes(node for node in ray.nodes() if node["NodeID"] in wanted)
        except Exception:
            return set()
