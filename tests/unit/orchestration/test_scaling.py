"""When a running group is resized, and what is asked of it before."""

from __future__ import annotations

import socket
from pathlib import Path

from ray.train import ScalingConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.controller.state import InitializingState, ReschedulingState
from ray.train.v2.api.exceptions import ControllerError

from w2v2_ray.orchestration.nodes import unreachable_nodes
from w2v2_ray.orchestration.scaling import ElasticPolicy, ResizeRule, SnapshotRequest, request_of
from w2v2_ray.run.folder import RunFolder


def test_a_size_must_have_been_possible_for_a_while_before_the_run_is_resized():
    rule = ResizeRule(stable_s=5.0, interval_s=0.0)
    assert [rule.wants(2, 3, now=now, started=0.0) for now in (100.0, 104.0, 105.0)] == [False, False, True]


def test_a_node_that_flaps_does_not_resize_the_run():
    rule = ResizeRule(stable_s=5.0, interval_s=0.0)
    possible = [3, 3, 2, 3, 3, 2, 3, 2, 3, 3]
    assert not any(rule.wants(2, size, now=2.0 * now, started=-1000.0) for now, size in enumerate(possible))


def test_another_new_size_begins_the_wait_anew():
    rule = ResizeRule(stable_s=5.0, interval_s=0.0)
    assert not rule.wants(1, 2, now=0.0, started=-1000.0)
    assert not rule.wants(1, 3, now=4.0, started=-1000.0)
    assert not rule.wants(1, 3, now=8.0, started=-1000.0)
    assert rule.wants(1, 3, now=9.0, started=-1000.0)


def test_resizes_keep_their_distance_from_the_last_start():
    rule = ResizeRule(stable_s=0.0, interval_s=60.0)
    assert not rule.wants(2, 3, now=159.0, started=100.0)
    assert rule.wants(2, 3, now=160.0, started=100.0)


def test_a_snapshot_is_asked_for_before_a_resize_and_waited_for_no_longer_than_patience(tmp_path: Path):
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "snapshot-00000004").mkdir(parents=True)
    request = SnapshotRequest(RunFolder(tmp_path), patience_s=15.0)
    assert request_of(RunFolder(tmp_path)) is None
    assert not request.answered(100.0)
    assert request_of(RunFolder(tmp_path)) is not None
    assert not request.answered(101.0)
    (checkpoints / "snapshot-00000006").mkdir()
    assert request.answered(102.0)
    assert request_of(RunFolder(tmp_path)) is None
    assert not request.answered(200.0)
    assert request.answered(215.0)
    assert request_of(RunFolder(tmp_path)) is None


def test_nodes_that_refuse_connections_or_are_reported_dead_count_as_gone():
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as closing:
        closed_port = closing.getsockname()[1]
        closing.close()
        there = {"Alive": True, "NodeManagerAddress": "127.0.0.1"}
        nodes = [
            {"NodeID": "good", **there, "NodeManagerPort": listening.getsockname()[1]},
            {"NodeID": "killed", **there, "NodeManagerPort": closed_port},
            {"NodeID": "dead", **there, "NodeManagerPort": listening.getsockname()[1], "Alive": False},
        ]
        assert unreachable_nodes(nodes) == {"killed", "dead"}
    assert unreachable_nodes([]) == set()


class Reserved:
    """Nodes of one CPU."""

    def __init__(self, count: int) -> None:
        self.nodes = {f"node-{number}": {"CPU": 1.0} for number in range(count)}


def policy_of(tmp_path: Path) -> ElasticPolicy:
    scaling = ScalingConfig(num_workers=(1, 4), resources_per_worker={"CPU": 1.0})
    return ElasticPolicy(scaling, ResizeRule(0.0, 0.0), str(tmp_path))


def test_a_size_whose_workers_could_not_be_placed_is_not_tried_again_until_the_nodes_change(tmp_path: Path):
    """Others may use what Ray counts as ours: without this the run would start, wait and fail for ever."""
    policy = policy_of(tmp_path)
    assert policy._count_possible_workers(Reserved(3).nodes) == 3
    policy._attempted = 3
    timeout = ReschedulingState(training_failed_error=ControllerError(WorkerGroupStartupTimeoutError(3)))
    policy.after_controller_state_update(InitializingState(), timeout)
    assert policy._count_possible_workers(Reserved(3).nodes) == 2
    assert policy._count_possible_workers(Reserved(4).nodes) == 4
    assert policy._count_possible_workers(Reserved(3).nodes) == 3


def test_a_worker_that_dies_while_it_starts_is_no_reason_to_run_with_fewer(tmp_path: Path):
    policy = policy_of(tmp_path)
    policy._count_possible_workers(Reserved(3).nodes)
    policy._attempted = 3
    died = ReschedulingState(training_failed_error=ControllerError(WorkerGroupStartupFailedError("died")))
    policy.after_controller_state_update(InitializingState(), died)
    assert policy._count_possible_workers(Reserved(3).nodes) == 3
