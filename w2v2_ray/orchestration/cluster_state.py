"""Ask the cluster that this process is connected to what it has, and whether it can get more."""

from __future__ import annotations

import json
import re
from typing import Any

from w2v2_ray.orchestration.ray_private.core import control_channel, first_autoscaler_report
from w2v2_ray.orchestration.supply import Supply

_TIMEOUT_S = 5.0
_GONE = (2, 4)
"""States of nodes on which nothing can be started any more: dead and draining."""


def look_at_cluster(needs: dict[str, float], address: str | None = None) -> Supply:
    """A cluster's nodes and its autoscaler, in one request to its control store.

    Ray's public functions tell neither whether there is an autoscaler nor what it could not start.

    Args:
        needs: Of one worker, to know which of the autoscaler's refusals is about us.
        address: Of the control store; None: the one that this process is connected to.
    """
    import ray
    from ray.core.generated import autoscaler_pb2, autoscaler_pb2_grpc

    channel = control_channel(address or ray.get_runtime_context().gcs_address)
    try:
        stub = autoscaler_pb2_grpc.AutoscalerStateServiceStub(channel)
        status = stub.GetClusterStatus(autoscaler_pb2.GetClusterStatusRequest(), timeout=_TIMEOUT_S)
    finally:
        channel.close()
    nodes = [node for node in status.cluster_resource_state.node_states if node.status not in _GONE]
    scaling = status.autoscaling_state
    return Supply(
        nodes=tuple(dict(node.total_resources) for node in nodes),
        free=tuple(dict(node.available_resources) for node in nodes),
        # The process that would scale runs in every cluster; where it may start no nodes, they have no types.
        autoscaler=(scaling.autoscaler_state_version > 0 and any(node.ray_node_type_name for node in nodes))
        or _has_first_autoscaler(),
        refused=any(_concerns(bundle, needs) for bundle in _refused(scaling)),
        starting=len(scaling.pending_instances)
        + sum(max(1, request.count) for request in scaling.pending_instance_requests),
        failures=tuple(f"{entry.ray_node_type_name}: {entry.reason}" for entry in scaling.failed_instance_requests),
    )


def _refused(scaling: Any) -> list[dict[str, float]]:
    """Resources of every request that the autoscaler calls infeasible."""
    requests = [*scaling.infeasible_resource_requests]
    for constraint in scaling.infeasible_cluster_resource_constraints:
        requests += [counted.request for counted in constraint.resource_requests]
    for gang in scaling.infeasible_gang_resource_requests:
        requests += [*gang.requests]
        requests += [request for selector in gang.bundle_selectors for request in selector.resource_requests]
    return [dict(request.resources_bundle) for request in requests]


def _concerns(bundle: dict[str, float], needs: dict[str, float]) -> bool:
    return all(abs(bundle.get(name, 0.0) - amount) < 1e-4 for name, amount in needs.items())


def _has_first_autoscaler() -> bool:
    """Whether there is one of version 1, which leaves a report of itself."""
    report = first_autoscaler_report()
    return report is not None and has_node_types(json.loads(report))


def has_node_types(report: dict[str, Any]) -> bool:
    """Whether the report of an autoscaler of version 1 is that of one which may start nodes.

    Without a cluster file it calls every node a type of its own, after the node's id.

    Args:
        report: As Ray keeps it.
    """
    active = (report.get("autoscaler_report") or {}).get("active_nodes") or {}
    return any(re.fullmatch(r"node_[0-9a-f]+", name) is None for name in active)
