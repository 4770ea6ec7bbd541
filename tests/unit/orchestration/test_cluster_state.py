"""What Ray says of its autoscaler, read as it stands in real clusters' answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from w2v2_ray.orchestration import cluster_state
from w2v2_ray.orchestration.cluster_state import has_node_types, look_at_cluster

NODE = "ce79218dfa7d01d32cf0bac00a445eaf98d0c980fadfa106e47b72c9"


@pytest.mark.parametrize(
    ("report", "has"),
    [
        ({"load_metrics_report": {}}, False),
        ({"autoscaler_report": {"active_nodes": {f"node_{NODE}": 1}}}, False),
        ({"autoscaler_report": {"active_nodes": None}}, False),
        ({"autoscaler_report": None}, False),
        ({"autoscaler_report": {"active_nodes": {"headgroup": 1}}}, True),
        ({"autoscaler_report": {"active_nodes": {"node_small": 1}}}, True),
    ],
)
def test_an_autoscaler_that_may_start_nodes_is_told_from_one_that_only_reads(report, has):
    assert has_node_types(report) == has


@pytest.fixture
def reply(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The answer of a control store."""
    from ray._private import grpc_utils
    from ray.core.generated import autoscaler_pb2, autoscaler_pb2_grpc

    reply = autoscaler_pb2.GetClusterStatusReply()
    stub = SimpleNamespace(GetClusterStatus=lambda request, timeout: reply)
    monkeypatch.setattr(autoscaler_pb2_grpc, "AutoscalerStateServiceStub", lambda channel: stub)
    monkeypatch.setattr(
        grpc_utils, "init_grpc_channel", lambda address, asynchronous: SimpleNamespace(close=lambda: None)
    )
    monkeypatch.setattr(cluster_state, "_has_first_autoscaler", lambda: False)
    return reply


def test_living_nodes_count_and_dead_ones_do_not(reply):
    node = reply.cluster_resource_state.node_states.add(status="RUNNING")
    node.total_resources["CPU"], node.available_resources["CPU"] = 4, 1
    reply.cluster_resource_state.node_states.add(status="DEAD").total_resources["CPU"] = 8
    supply = look_at_cluster({"CPU": 1.0}, "a:1")
    assert (supply.nodes, supply.free) == (({"CPU": 4.0},), ({"CPU": 1.0},))
    assert not supply.autoscaler


def test_what_the_autoscaler_starts_could_not_start_and_refuses_is_read(reply):
    reply.cluster_resource_state.node_states.add(status="IDLE", ray_node_type_name="head")
    state = reply.autoscaling_state
    state.autoscaler_state_version = 3
    state.pending_instances.add()
    state.pending_instance_requests.add(count=2)
    state.failed_instance_requests.add(ray_node_type_name="gpu_spot", reason="no capacity")
    refused = state.infeasible_cluster_resource_constraints.add().resource_requests.add(count=2).request
    refused.resources_bundle["CPU"], refused.resources_bundle["GPU"] = 4, 1
    supply = look_at_cluster({"CPU": 4.0, "GPU": 1.0}, "a:1")
    assert supply.autoscaler
    assert supply.refused
    assert supply.starting == 3
    assert supply.failures == ("gpu_spot: no capacity",)
    assert not look_at_cluster({"CPU": 2.0}, "a:1").refused
