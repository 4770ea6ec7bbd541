"""Ray's real autoscaler on this machine, as `cluster/local-autoscaling.yaml` has it, and ways to harm its nodes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from w2v2_ray.orchestration.settings import cluster_settings

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / "cluster" / "local-autoscaling.yaml"
_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_NODE_ID = "RAY_OVERRIDE_NODE_ID_FOR_TESTING"
_START_TIMEOUT_S = 120.0


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(server.getsockname()[1]) for server in sockets]


class AutoscalingCluster:
    """A head without CPUs; the autoscaler starts nodes of one CPU when a job asks for them, and takes them away.

    Ports are free ones and everything is kept in a folder of its own, so that it goes along with any other Ray here.
    """

    def __init__(self) -> None:
        # Short: Ray puts sockets into it, whose paths may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="w2v2-", dir="/tmp"))
        gcs, dashboard, client, agent = _free_ports(4)
        self.gcs_address = f"127.0.0.1:{gcs}"
        self.address = f"http://127.0.0.1:{dashboard}"
        yaml = YAML(typ="safe")
        config = yaml.load(CONFIG)
        config["provider"]["gcs_address"] = self.gcs_address
        yaml.dump(config, self._folder / "cluster.yaml")
        head = config["provider"]["head_node_id"]
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if name not in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
            },
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            # Entry points run `python`, as on a cluster whose image has one.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": os.urandom(16).hex(),
        }
        start = {
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": head,
            _NODE_ID: head,
            "RAY_NODE_TYPE_NAME": config["head_node_type"],
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        }
        options = {
            "--port": gcs,
            "--dashboard-host": "127.0.0.1",
            "--dashboard-port": dashboard,
            "--ray-client-server-port": client,
            "--dashboard-agent-listen-port": agent,
            "--min-worker-port": 0,
            "--max-worker-port": 0,
            "--num-cpus": 0,
            "--object-store-memory": 100_000_000,
            "--temp-dir": self._folder / "ray",
            "--autoscaling-config": self._folder / "cluster.yaml",
            "--system-config": json.dumps(cluster_settings()),
        }
        command = [*_RAY, "start", "--head", "--disable-usage-stats"]
        command += [str(part) for option in options.items() for part in option]
        try:
            done = self._run(command, timeout=_START_TIMEOUT_S, env={**self.environment, **start})
        except subprocess.TimeoutExpired as error:
            self.close()
            raise RuntimeError(f"Ray did not start within {_START_TIMEOUT_S:g} s") from error
        if done.returncode:
            self.close()
            raise RuntimeError(f"Ray did not start:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def ray(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a `ray` command against this cluster."""
        return self._run([*_RAY, *arguments], **options)

    def _run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"env": self.environment, "capture_output": True, "text": True, **options}
        return subprocess.run(command, check=False, **options)

    def submit(self, *arguments: str, log: Path) -> psutil.Popen:
        """Start `w2v2-ray submit ... --address` in a process of its own, which prints to a file."""
        program = "from w2v2_ray.cli.app import main; main()"
        command = [sys.executable, "-c", program, "submit", *arguments, "--address", self.address]
        with log.open("a") as file:
            return psutil.Popen(command, env=self.environment, stdout=file, stderr=file)

    def _processes(self) -> list[psutil.Process]:
        """All of this cluster that names our folder."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if process.pid != os.getpid() and any(str(self._folder) in part for part in process.info["cmdline"] or ())
        ]

    def nodes(self) -> dict[str, psutil.Process]:
        """Worker nodes that are up: their raylets by node id."""
        found = {}
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                if process.name() == "raylet" and process.environ().get("RAY_NODE_TYPE_NAME") == "spot_worker":
                    found[process.environ()[_NODE_ID]] = process
        return found

    def node_with_worker(self) -> str:
        """The newest node that runs a training worker."""
        for node, raylet in sorted(self.nodes().items(), reverse=True):
            with contextlib.suppress(psutil.Error):
                if any("RayTrainWorker" in " ".join(child.cmdline()) for child in raylet.children(recursive=True)):
                    return node
        raise RuntimeError("no node runs a training worker")

    def kill_node(self, node: str) -> None:
        """SIGKILL for a node's raylet and all that it started, as when a spot machine is taken away unannounced."""
        raylet = self.nodes()[node]
        for process in [*raylet.children(recursive=True), raylet]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def drain_node(self, node: str, deadline_s: int) -> None:
        """Announce that a node will be taken away, as clouds do."""
        reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        deadline = ["--deadline-remaining-seconds", str(deadline_s)]
        done = self.ray("drain-node", "--address", self.gcs_address, "--node-id", node, *reason, *deadline, timeout=60)
        if done.returncode:
            raise RuntimeError(f"node {node} could not be drained:\n{done.stderr[-2000:]}")

    def close(self) -> None:
        """Kill everything of this cluster."""
        for _ in range(3):
            found = self._processes()
            for process in list(found):
                with contextlib.suppress(psutil.Error):
                    found += process.children(recursive=True)
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.2)
        shutil.rmtree(self._folder, ignore_errors=True)
