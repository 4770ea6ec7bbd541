"""What `elastic.py` does to a run, and how long the run takes to train on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
from elastic_cluster import Driver, LocalCluster, RunWatch
from psutil import Process

from w2v2_ray.run.checkpoints.files import list_states
from w2v2_ray.run.folder import RunFolder, read_lines

FAULTS = (
    "worker killed",
    "node added",
    "worker hung",
    "killed twice in a row",
    "node lost",
    "killed while saving",
    "node added",
    "node drained",
    "killed at an epoch boundary",
    "node added",
    "killed while starting",
    "two killed at once",
    "node added",
    "driver killed and started again",
    "newest state truncated, worker killed",
)
"""The schedule's pieces; a node that is lost or drained is followed by one that is added."""
RARE = ("driver killed and started again",)
"""Of a long schedule, only every tenth of these."""


@dataclass
class Recovery:
    """From a fault to the next update, in seconds.

    Attributes:
        kind: The fault.
        seconds: From the fault to the next update.
        recomputed: Updates that were computed twice.
        world_size: Workers then.
        paused_s: Of it, from when it was noticed; None where all were started again.
        update: The update.
    """

    kind: str
    seconds: float
    recomputed: int
    world_size: int
    paused_s: float | None = None
    update: int = 0


class Harm:
    """Inflicts faults on a run and waits until it trains on."""

    def __init__(self, cluster: LocalCluster, driver: Driver, run: RunFolder) -> None:
        self.recoveries: list[Recovery] = []
        self.cluster = cluster
        self.driver = driver
        self.run = run
        self.watch = RunWatch(run, driver)

    def inflict(self, kind: str, *, rng: random.Random | None = None, record: bool = True) -> None:
        """Do it and wait for the next update."""
        rng = rng or random.Random(0)
        if kind == "node added" and len(self.cluster.nodes) >= 3:
            kind = "worker killed"
        elif kind == "node lost" and len(self.cluster.nodes) == 1:
            kind = "node added"
        actions: dict[str, Callable[[random.Random], float]] = {
            "worker killed": self._kill,
            "worker hung": self._hang,
            "node lost": self._lose_node,
            "node added": self._add_node,
            "node drained": self._drain,
            "killed while saving": self._kill_while_saving,
            "killed at an epoch boundary": self._kill_at_epoch,
            "killed while starting": self._kill_while_starting,
            "killed twice in a row": self._kill_twice,
            "two killed at once": self._kill_two,
            "driver killed and started again": self._kill_driver,
            "newest state truncated, worker killed": self._truncate,
        }
        at = actions[kind](rng)
        event = self.watch.wait_for(f"recovery from: {kind}", lambda: self._recovered_since(at, kind == "node added"))
        if record:
            seconds = round(event["time"] - at, 2)
            if event["event"] == "going_on":
                recovery = Recovery(kind, seconds, 0, event["to"], event["paused_s"], self.watch.update())
            else:
                recovery = Recovery(kind, seconds, event["updates_recomputed"], event["world_size"])
            self.recoveries.append(recovery)

    def _recovered_since(self, at: float, joined: bool = False) -> dict[str, Any] | None:
        """The event that says that the run goes on without who was lost, or with who came."""
        for event in self.watch.events("recovered", "going_on"):
            if event["time"] > at and (event["event"] == "recovered" or event["joined" if joined else "gone"]):
                return event
        return None

    def wait_for_company(self) -> None:
        """Wait until a worker trains on every node, so that no fault but those of all at once loses the state."""
        nodes = min(3, len(self.cluster.nodes))

        def all_train() -> bool:
            members = self._members()
            for member in members:
                # Those that train would otherwise take most of two cores from those that start.
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.nice(19)
            return len(members) >= nodes and self.watch.world_size() >= nodes

        self.watch.wait_for("all workers", all_train)

    def _members(self) -> list[Process]:
        """Workers that train; where survivors do not go on, all."""
        members: dict[str, int] = {}
        for event in self.watch.events("joined", "going_on", "launch"):
            if event["event"] == "launch":
                members = {}
            elif event["event"] == "joined":
                members[event["worker"]] = event["pid"]
            else:
                for name in event["gone"]:
                    members.pop(name, None)
        pids = {*members.values()}
        return [worker for worker in self.cluster.workers() if not pids or worker.pid in pids]

    def _kill(self, rng: random.Random) -> float:
        victim = rng.choice(self._members())
        victim.kill()
        return time.time()

    def _hang(self, rng: random.Random) -> float:
        victim = rng.choice(self._members())
        victim.send_signal(signal.SIGSTOP)
        return time.time()

    def _lose_node(self, rng: random.Random) -> float:
        node = self.cluster.node_with_worker()
        at = time.time()
        self.cluster.kill_node(node)
        return at

    def _add_node(self, rng: random.Random) -> float:
        self.cluster.add_node()
        return time.time()

    def _drain(self, rng: random.Random) -> float:
        node = self.cluster.node_with_worker()
        at = time.time()
        self.cluster.drain_node(node, 90)
        self.watch.wait_for("recovery", lambda: self._recovered_since(at))
        self.cluster.kill_node(node)  # its cloud takes it
        return at

    def _kill_while_saving(self, rng: random.Random) -> float:
        self.watch.wait_for("a save", lambda: list(self.run.checkpoints.glob(".writing-*")))
        return self._kill(rng)

    def _kill_at_epoch(self, rng: random.Random) -> float:
        epochs = [int(record["epoch"]) for record in read_lines(self.run.metrics)]
        self.watch.wait_for("a new epoch", lambda: self._epoch() > epochs[-1])
        return self._kill(rng)

    def _epoch(self) -> int:
        epoch = 0
        for record in read_lines(self.run.metrics):
            epoch = int(record["epoch"])
        return epoch

    def _kill_while_starting(self, rng: random.Random) -> float:
        before = {worker.pid for worker in self.cluster.workers()}
        at = self._kill(rng)
        self.watch.wait_for("new workers", lambda: {w.pid for w in self.cluster.workers()} - before)
        time.sleep(rng.uniform(0.0, 3.0))
        fresh = [worker for worker in self.cluster.workers() if worker.pid not in before]
        if fresh:
            rng.choice(fresh).kill()
        return at

    def _kill_twice(self, rng: random.Random) -> float:
        at = self._kill(rng)
        self.watch.wait_for("recovery", lambda: self._recovered_since(at))
        return self._kill(rng)

    def _kill_two(self, rng: random.Random) -> float:
        workers = self._members()
        for victim in rng.sample(workers, min(2, len(workers))):
            victim.kill()
        return time.time()

    def _kill_driver(self, rng: random.Random) -> float:
        at = time.time()
        self.driver.kill()
        self.driver.start()
        return at

    def _truncate(self, rng: random.Random) -> float:
        newest = list_states(self.run.checkpoints)[-1]
        for file in newest.glob("state-*.safetensors"):
            os.truncate(file, file.stat().st_size // 2)
        return self._kill(rng)
