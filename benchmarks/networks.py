"""A living crew on hosts of their own: partitions, losses, delays, and what an update's bytes cost on a slow link.

Run `python benchmarks/networks.py` as root (network namespaces, `ip`, `tc`); the job is that of `elastic.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from elastic_job import make_dataset, make_job, utterances_of
from elastic_report import compare
from network_hosts import COORDINATOR, Hosts
from network_worker import SECRET
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # missing from torch's stubs
from without_ray import command_without_ray

from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.loading import dump_job
from w2v2_ray.team.coordinator import Coordinator

SILENCE_S = 3.0
CONDITIONS = {
    "1 % of frames lost": {"loss": 0.01},
    "10 % of frames lost": {"loss": 0.1},
    "50 ms delay each way": {"delay_s": 0.05},
    "50 ms and 1 %": {"delay_s": 0.05, "loss": 0.01},
}
BASE_ELEMENTS = 94_400_000
"""Parameters of the Base model, about."""
WORKER = str(Path(__file__).parent / "network_worker.py")


class Crew:
    """Workers on hosts, and the coordinator of a job."""

    def __init__(self, hosts: Hosts, folder: Path, updates: int) -> None:
        self.hosts = hosts
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.coordinator = Coordinator(
            SECRET, first=3, least=1, most=3, silence_s=SILENCE_S, begin_s=60.0, host=COORDINATOR, tell=self._tell
        )
        self.address = self.coordinator.start()
        self.job = folder / "networks.yaml"
        job = make_job(folder, "networks", ["engine.precision=fp32", f"updates={updates}"], (1, 3))
        self.job.write_text(dump_job(job))
        self.run = RunFolder(Path(job.storage_path) / job.name)
        self.run.create()
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def _tell(self, name: str, **details: Any) -> None:
        self.events.append({"event": name, "at": time.monotonic(), **details})

    def start(self, host: int) -> str:
        """Start a worker on a host."""
        name = f"w{len(self.workers)}"
        options = ["--address", self.address[0], "--port", str(self.address[1]), "--name", name]
        self.workers[name] = self.hosts.start(
            host, WORKER, "train", *options, "--job", str(self.job), "--silence-s", str(SILENCE_S),
            log=self.folder / f"{name}.log",
        )  # fmt: skip
        return name

    def wait_for(self, what: str, condition: Any, timeout_s: float = 120.0) -> float:
        """Wait; returns the seconds."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > timeout_s:
                raise TimeoutError(f"no {what}: {self.events[-5:]}")
            time.sleep(0.02)
        return time.monotonic() - began

    def members(self) -> list[str]:
        """Those that are in."""
        return self.coordinator.ask(lambda roster: roster.members)

    def pace(self, seconds: float) -> str:
        """Median seconds of an update over some time, and whether anybody was lost."""
        before, told = sum(1 for _ in read_lines(self.run.metrics)), len(self.events)
        time.sleep(seconds)
        records = list(read_lines(self.run.metrics))[before + 1 :]
        lost = [event["worker"] for event in self.events[told:] if event["event"] in ("lost", "silent")]
        pace = statistics.median(r["update_s"] for r in records) if records else float("nan")
        return f"{pace:.2f} s an update ({len(records)} updates); lost: {', '.join(lost) or 'nobody'}"


def trouble(folder: Path, updates: int, seconds: float, switched: bool) -> None:
    """One run through what a network does: losses and delays where it is switched, else a slow link; then cuts."""
    make_dataset(folder)
    hosts = Hosts(3, switched)
    crew = Crew(hosts, folder, updates)
    try:
        for host in range(3):
            crew.start(host)
        crew.wait_for("three members", lambda: len(crew.members()) == 3)
        crew.wait_for("updates", lambda: crew.coordinator.ask(lambda roster: roster.position) > 5)
        print(f"| as it is | {crew.pace(seconds)} |", flush=True)
        if switched:
            for name, conditions in CONDITIONS.items():
                hosts.disturb(**conditions)
                print(f"| {name} | {crew.pace(seconds)} |", flush=True)
            hosts.disturb()
        else:
            hosts.shape("tbf", "rate", "1gbit", "burst", "256kb", "latency", "50ms")
            print(f"| 1 Gbit/s | {crew.pace(seconds)} |", flush=True)
            hosts.shape()
        for place, name in ((2, "w2"), (0, "w0")):
            began = time.monotonic()
            hosts.cut(place)
            crew.wait_for("the others", lambda gone=name: gone not in crew.members())
            crew.wait_for("an update", lambda: crew.events[-1]["event"] == "going_on")
            went = next(e for e in reversed(crew.events) if e["event"] == "going_on")
            crew.wait_for("its end", lambda gone=name: crew.workers[gone].poll() is not None)
            after = (
                f"the others' next update after {went['at'] - began:.2f} s, {went['paused_s']:.2f} s of it once noticed"
            )
            ended = f"the one cut off ended by itself after {time.monotonic() - began:.1f} s"
            print(f"| host of {name} cut off, no socket closed | {after}; {ended} |", flush=True)
            hosts.heal(place)
            crew.start(place)
            crew.wait_for("three members again", lambda: len(crew.members()) == 3)
            crew.wait_for("an update", lambda: crew.events[-1]["event"] == "going_on")
            print(
                f"| healed, a worker started there | in after {crew.events[-1]['paused_s']:.2f} s of pause |",
                flush=True,
            )
        for name in crew.members():
            if crew.workers[name].wait(900):
                raise RuntimeError((folder / f"{name}.log").read_text()[-3000:])
    finally:
        for worker in crew.workers.values():
            worker.kill()
        crew.coordinator.close()
        hosts.close()
    alone = RunFolder(folder / "alone")
    subprocess.run(command_without_ray(crew.job, alone.path), check=True)
    print("\n" + str(compare("networks", alone, crew.run, utterances_of(folder / "dataset"))))


def cost(count: int, elements: int, repeats: int, folder: Path) -> str:
    """Our sum and DistributedDataParallel's on a 1 Gbit/s link between some hosts, in turns."""
    hosts = Hosts(count)
    coordinator = Coordinator(
        SECRET, first=count, least=1, most=count, silence_s=60.0, begin_s=120.0, host=COORDINATOR,
    )  # fmt: skip
    address = coordinator.start()
    store = TCPStore(COORDINATOR, 0, count, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=120))
    out = folder / f"cost-{count}.json"
    hosts.shape("tbf", "rate", "1gbit", "burst", "256kb", "latency", "50ms")
    workers = []
    try:
        for host in range(count):
            options = ["--address", address[0], "--port", str(address[1]), "--name", f"w{host}", "--out", str(out)]
            options += ["--elements", str(elements), "--store", str(store.port), "--repeats", str(repeats)]
            options += ["--interface", hosts.interface(host)]
            workers.append(hosts.start(host, WORKER, "add_up", *options, log=folder / f"cost-{count}-{host}.log"))
        for host, worker in enumerate(workers):
            if worker.wait(600):
                raise RuntimeError((folder / f"cost-{count}-{host}.log").read_text()[-3000:])
    finally:
        for worker in workers:
            worker.kill()
        coordinator.close()
        hosts.close()
    seconds = json.loads(out.read_text())
    ours, ddp = (statistics.median(seconds[what]) for what in ("ours", "ddp"))
    return f"| {count} | {ours:.2f} | {ddp:.2f} | {ours / ddp:.2f} |"


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each condition")
    parser.add_argument("--hosts", type=int, nargs="*", default=[2, 3, 4], help="for the cost of an update's bytes")
    parser.add_argument("--elements", type=int, default=BASE_ELEMENTS)
    parser.add_argument("--repeats", type=int, default=3)
    wires = {"bridge": [False], "switch": [True], "both": [False, True]}
    parser.add_argument("--wires", choices=wires, default="both", help="what joins the hosts")
    args = parser.parse_args()
    args.wires = wires[args.wires]
    print(f"{time.strftime('%Y-%m-%d', time.gmtime())}, {platform.machine()}, {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory(prefix="networks-") as place:
        if args.updates:
            for switched in args.wires:
                print(f"| {'a switch in a process' if switched else 'a bridge of the kernel'} | |\n|---|---|")
                trouble(Path(place) / f"switched-{switched}", args.updates, args.seconds, switched)
        if args.hosts:
            print("\n| hosts on 1 Gbit/s | our sum, s | DistributedDataParallel, fp32, s | ratio |\n|---|---|---|---|")
            for count in args.hosts:
                print(cost(count, args.elements, args.repeats, Path(place)), flush=True)


if __name__ == "__main__":
    main()
