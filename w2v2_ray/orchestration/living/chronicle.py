"""What the coordinator decides, as events of the run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from w2v2_ray.orchestration.failures import classify
from w2v2_ray.orchestration.nodes import unreachable_nodes
from w2v2_ray.team.roster import BEGINS


class Chronicle:
    """Turns what a coordinator tells into events, one for each change that the team has come through.

    Args:
        event: Writes an event.
        nodes: Gives Ray's nodes, as `ray.nodes()`.
    """

    def __init__(self, event: Callable[..., None], nodes: Callable[[], list[dict[str, Any]]]) -> None:
        self._event = event
        self._nodes = nodes
        self._begun = False
        self._size = 0
        self._joined: list[str] = []
        self._gone: list[str] = []
        self._reasons: list[str] = []
        self._told: set[str] = set()
        self._where: dict[str, str] = {}

    def tell(self, name: str, **details: Any) -> None:
        """Called by the coordinator, on its thread."""
        match name:
            case "team":
                if details["reason"] == BEGINS:
                    self._begun = False
                self._tell_joined(details["joined"])
                self._joined += details["joined"]
                self._gone += details["gone"]
                self._reasons.append(details["reason"])
            case "going_on":
                self._goes_on(details["workers"], details["paused_s"])
            case "silent":
                self._told.add(details["worker"])
                self._write("worker_hung", **details)
            case "left":
                self._told.add(details["worker"])
                self._write("left", **details)
            case "lost":
                self._where[details["worker"]] = details.get("node", "")

    def _tell_joined(self, workers: dict[str, dict[str, Any]]) -> None:
        for worker, about in workers.items():
            self._write("joined", worker=worker, **about)

    def _goes_on(self, workers: int, paused_s: float) -> None:
        joined, gone, reasons = self._joined, self._gone, self._reasons
        self._joined, self._gone, self._reasons = [], [], []
        before, self._size = self._size, workers
        if not self._begun:
            self._begun = True
            return
        # Who came and went between two updates was never of use.
        joined, gone = [n for n in joined if n not in gone], [n for n in gone if n not in joined]
        self._write(
            "going_on",
            **{"from": before, "to": workers, "paused_s": paused_s, "joined": joined, "gone": gone},
            reason="; ".join(reasons)[:500],
        )

    def ended(self, worker: str, error: BaseException) -> None:
        """A replica has ended with an error: tell of it as of any worker, unless its end has been told."""
        if worker in self._told:
            return
        failures = getattr(error, "worker_failures", None) or {0: error}
        ending = classify(failures[min(failures)])
        cause = "worker_lost" if ending.cause == "collateral" else ending.cause
        node = self._where.get(worker, "")
        if cause == "worker_lost" and node and node in self._unreachable(node):
            cause = "node_lost"
        self._write(cause, worker=worker, node=node, reason=ending.text)

    def _unreachable(self, node: str) -> set[str]:
        try:
            return unreachable_nodes(entry for entry in self._nodes() if entry["NodeID"] == node)
        except Exception:  # the control store may be busy
            return set()

    def _write(self, name: str, **details: Any) -> None:
        # The storage may be away or full; training does not end of an event that is not written down.
        with contextlib.suppress(OSError):
            self._event(name, **details)
