"""A Ray cluster of one-CPU nodes on this machine, a training command beside it, and ways to harm both."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from w2v2_ray.orchestration.settings import cluster_settings
from w2v2_ray.run.folder import RunFolder, read_lines

_COMMAND = "from w2v2_ray.cli.app import main; main()"
_WORKER = "RayTrainWorker"
_TAIL_BYTES = 20_000


class LocalCluster:
    """A head without CPUs, and nodes of one CPU each, so that a node holds one worker."""

    def __init__(self, nodes: int) -> None:
        from ray.cluster_utils import Cluster

        # Small machines: the servers of many nodes would otherwise take a thread per core and 30 % of memory each.
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": cluster_settings()}
        self._cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        self.nodes: list[Any] = []
        for _ in range(nodes):
            self.add_node()

    @property
    def address(self) -> str:
        """For `--address`."""
        return str(self._cluster.address)

    def add_node(self) -> Any:
        """Start a node and wait until it is there."""
        node = self._cluster.add_node(num_cpus=1)
        self.nodes.append(node)
        return node

    def kill_node(self, node: Any) -> None:
        """SIGKILL for the node's raylet and all it started."""
        for process in [*self.processes_of(node), _raylet(node)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.nodes.remove(node)
        with contextlib.suppress(Exception):
            self._cluster.remove_node(node, allow_graceful=False)

    def drain_node(self, node: Any, deadline_s: int) -> None:
        """Announce that a node will be taken away."""
        options = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        program = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", self.address]
        program += ["--node-id", node.node_id, *options, "--deadline-remaining-seconds", str(deadline_s)]
        subprocess.run(program, check=True, capture_output=True, timeout=60)

    def processes_of(self, node: Any) -> list[psutil.Process]:
        """What a node's raylet has started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(_raylet(node).children(recursive=True))
        return []

    def workers(self) -> list[psutil.Process]:
        """Training workers, in order of their nodes."""
        found = []
        for node in self.nodes:
            for process in self.processes_of(node):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if _WORKER in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
        return found

    def node_with_worker(self) -> Any:
        """The last node that runs a training worker."""
        pids = {worker.pid for worker in self.workers()}
        return next(n for n in reversed(self.nodes) if pids & {p.pid for p in self.processes_of(n)})

    def close(self) -> None:
        """Stop everything."""
        for node in list(self.nodes):
            self.kill_node(node)
        with contextlib.suppress(Exception):
            self._cluster.shutdown()


def _raylet(node: Any) -> psutil.Process:
    (info,) = node.all_processes["raylet"]
    return psutil.Process(info.process.pid)


class Driver:
    """`w2v2-ray train` in a process of its own."""

    def __init__(self, job_file: Path, address: str) -> None:
        self._command = [sys.executable, "-c", _COMMAND, "train", str(job_file), "--address", address]
        self._log = job_file.with_suffix(".log")
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.start()

    def start(self) -> None:
        """Start the command, or the same command again."""
        with self._log.open("a") as log:
            self.process = psutil.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)

    @property
    def output(self) -> str:
        """What it printed, its end."""
        return self._log.read_text()[-4000:]

    def alive(self) -> bool:
        """Whether it still runs."""
        return bool(self.process.poll() is None)


class RunWatch:
    """Reads what a run writes."""

    def __init__(self, run: RunFolder, driver: Driver) -> None:
        self.run = run
        self.driver = driver

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Events of these names, oldest first."""
        return [event for event in read_lines(self.run.events) if not names or event["event"] in names]

    def update(self) -> int:
        """The last update written."""
        return int(self._last().get("update", 0))

    def world_size(self) -> int:
        """Workers of the last update written."""
        return int(self._last().get("world_size", 0))

    def _last(self) -> dict[str, Any]:
        """The last whole line of the metrics, looked for at the file's end: this is asked many times a second."""
        with contextlib.suppress(OSError), self.run.metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            for line in reversed(file.read().splitlines(keepends=True)):
                if line.endswith(b"\n"):
                    with contextlib.suppress(ValueError):
                        return dict(json.loads(line))
        return {}

    def wait_for(self, what: str, condition: Any, timeout_s: float = 180.0) -> Any:
        """Wait until `condition()` gives something.

        Raises:
            TimeoutError: When it does not, or the command ends first.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = condition()
            if found:
                return found
            if not self.driver.alive() or time.monotonic() > deadline:
                events = "\n".join(str(event) for event in self.events()[-12:])
                raise TimeoutError(f"no {what}; command alive: {self.driver.alive()}\n{events}\n{self.driver.output}")
            time.sleep(0.05)

    def wait_for_update(self, update: int, timeout_s: float = 180.0) -> None:
        """Wait until an update is written."""
        self.wait_for(f"update {update}", lambda: self.update() >= update, timeout_s)

    def wait_until_over(self, timeout_s: float = 600.0) -> None:
        """Wait for the command to end well.

        Raises:
            RuntimeError: When it ends otherwise.
        """
        code = self.driver.process.wait(timeout=timeout_s)
        if code:
            raise RuntimeError(f"the command ended with {code}:\n{self.driver.output}")
