"""What can be told about Ray's nodes sooner than its control store tells."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_CONNECT_TIMEOUT_S = 1.0


def unreachable_nodes(nodes: Iterable[dict[str, Any]]) -> set[str]:
    """Ids of nodes that are dead, or whose port refuses or does not answer.

    Ray itself takes some 15 s to notice a lost node, and would meanwhile place workers on it.

    Args:
        nodes: As `ray.nodes()` gives them.
    """
    nodes = list(nodes)
    if not nodes:
        return set()
    with ThreadPoolExecutor(min(32, len(nodes))) as pool:
        answers = list(pool.map(_answers, nodes))
    return {node["NodeID"] for node, answer in zip(nodes, answers, strict=True) if not answer}


def _answers(node: dict[str, Any]) -> bool:
    if not node.get("Alive"):
        return False
    try:
        with socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), _CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
