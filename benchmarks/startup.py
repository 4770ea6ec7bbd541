"""What starting a run costs: clock and CPU seconds from the command to its first update, by process and by phase.

    python benchmarks/startup.py                        # this tree, one worker and two
    python benchmarks/startup.py --replace              # two workers, one is killed: until another has joined
    python benchmarks/startup.py --rounds 3 TREE TREE   # trees of the package, in turns

On a machine that is busy at a low priority, RAY_worker_niceness=0 in the environment gives Ray's workers, which are at
15 otherwise, their share.

CPU seconds are user and system time of the command and all it started, read from /proc, of which each process is read
last when the first update (or the event) is seen or before it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_LOOK_S = 0.05
_UNSURE = "idle worker"
_COMMAND = "from w2v2_ray.cli.app import main; main()"
_TIMEOUT_S = 180.0
_ROLES = {
    "RayTrainWorker": "worker",
    "_Controllers": "controller",
    "Controller": "controller",
    "raylet": "raylet",
    "gcs_server": "control store",
    "Actor": "helper actor",
    "DashboardAgent": "daemons",
    "RuntimeEnvAgent": "daemons",
}
JOB = """
kind: pretrain
preset: tiny
name: {name}
storage_path: {folder}/runs
data: {{train: {dataset}}}
batch: {{sub_batches_per_update: 4}}
worker: {{gpus: 0}}
elastic: {{min_workers: 1, max_workers: {workers}}}
updates: 100000
"""


@dataclass
class Account:
    """CPU seconds of a family of processes.

    Attributes:
        roles: Process to what it is.
        spent_s: Process to what it has used so far.
    """

    roles: dict[int, str] = field(default_factory=dict)
    spent_s: dict[int, float] = field(default_factory=dict)

    def look(self, root: int) -> None:
        """Read what the processes below one have used."""
        children = defaultdict(list)
        for pid, (parent, name, spent) in _processes().items():
            children[parent].append((pid, name, spent))
            if pid == root:
                self._note(pid, "driver", spent)
        waiting = [root]
        while waiting:
            for pid, name, spent in children[waiting.pop()]:
                self._note(pid, _role(pid, name), spent)
                waiting.append(pid)

    def _note(self, pid: int, role: str, spent: float) -> None:
        self.spent_s[pid] = spent
        # A process is a fork of its parent, then a program, and takes its name when it is given something to do.
        if self.roles.get(pid) in (None, _UNSURE, "raylet", "daemons"):
            self.roles[pid] = role

    def by_role(self, before: dict[int, float] | None = None) -> dict[str, float]:
        """CPU seconds by role, beyond those of an earlier look."""
        totals: dict[str, float] = defaultdict(float)
        for pid, spent in self.spent_s.items():
            totals[self.roles[pid]] += spent - (before or {}).get(pid, 0.0)
        return dict(totals)

    def processes(self) -> list[tuple[str, float]]:
        """Every process with its CPU seconds, greatest first."""
        return sorted(((self.roles[p], s) for p, s in self.spent_s.items()), key=lambda item: -item[1])


def _processes() -> dict[int, tuple[int, str, float]]:
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        found[int(entry)] = (int(rest[1]), name, (int(rest[11]) + int(rest[12])) * _TICK_S)
    return found


def _role(pid: int, name: str) -> str:
    try:
        title = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip() or name
    except OSError:
        title = name
    if not title.startswith("ray::") and name not in ("raylet", "gcs_server"):
        return _UNSURE if "default_worker" in title or "setup_worker" in title else "daemons"
    return next((role for word, role in _ROLES.items() if word in title or word == name), _UNSURE)


@dataclass
class Measured:
    """One start.

    Attributes:
        clock_s: From the command to the first update (or from the kill to the event).
        cpu_s: By role.
        detail: Each process.
        phases_s: Seconds from the command to each event.
    """

    clock_s: float
    cpu_s: dict[str, float]
    detail: list[tuple[str, float]]
    phases_s: dict[str, float]

    @property
    def total_s(self) -> float:
        """CPU seconds of all."""
        return sum(self.cpu_s.values())


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    except (OSError, ValueError):
        return []


def _wait(process: subprocess.Popen[bytes], account: Account, condition: Callable[[], bool], log: Path) -> float:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        account.look(process.pid)
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the command came to nothing:\n{log.read_text()[-3000:]}")
        time.sleep(_LOOK_S)
    now = time.monotonic()
    account.look(process.pid)
    return now


def measure(tree: Path, folder: Path, dataset: Path, workers: int, *, replace: bool) -> Measured:
    """Start a run and stop it as soon as its first update, or a replaced worker, is there."""
    name = f"start-{time.time_ns()}"
    job = folder / f"{name}.yaml"
    job.write_text(JOB.format(name=name, folder=folder, dataset=dataset, workers=workers))
    run = folder / "runs" / name
    log = folder / f"{name}.log"
    account = Account()
    begin, wall = time.monotonic(), time.time()
    with log.open("wb") as output:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPATH"] = str(tree)
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, "train", job], stdout=output, stderr=output, env=environment, cwd=folder
        )
    try:
        end = _wait(process, account, lambda: bool(_lines(run / "metrics.jsonl")), log)
        before: dict[int, float] = {}
        if replace:
            _wait(process, account, lambda: _lines(run / "metrics.jsonl")[-1]["world_size"] == workers, log)
            before = dict(account.spent_s)
            begin, wall = time.monotonic(), time.time()
            events = len(_lines(run / "events.jsonl"))
            os.kill(max(pid for pid, role in account.roles.items() if role == "worker"), signal.SIGKILL)

            def joined() -> bool:
                return any(e["event"] == "going_on" and e["joined"] for e in _lines(run / "events.jsonl")[events:])

            end = _wait(process, account, joined, log)
        phases = {e["event"]: e["time"] - wall for e in reversed(_lines(run / "events.jsonl")) if e["time"] >= wall}
        return Measured(end - begin, account.by_role(before), account.processes(), phases)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
    psutil.wait_procs(family, timeout=20)


def make_dataset(folder: Path) -> Path:
    """A minute of synthesised speech."""
    command = [str(Path(sys.executable).parent / "w2v2-ray")]
    subprocess.run([*command, "synth", folder / "corpus", "--utterances", "30"], check=True, capture_output=True)
    subprocess.run(
        [*command, "prepare", folder / "corpus/train.jsonl", "--out", folder / "dataset"],
        check=True,
        capture_output=True,
    )
    return folder / "dataset"


def _machine_busy() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path, default=[Path(__file__).resolve().parents[1]])
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--replace", action="store_true", help="kill a worker; measure until another has joined")
    parser.add_argument("--detail", action="store_true", help="every process")
    parser.add_argument("--folder", type=Path, help="keep the dataset and runs there")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="w2v2-startup-"))).resolve()
    folder.mkdir(exist_ok=True, parents=True)
    dataset = folder / "dataset"
    if not dataset.exists():
        make_dataset(folder)
    cases = [2] if options.replace else options.workers
    results = defaultdict(list)
    for _ in range(options.rounds):
        for workers in cases:
            for tree in options.trees:
                busy = _machine_busy()
                found = measure(tree.resolve(), folder, dataset, workers, replace=options.replace)
                results[tree, workers].append(found)
                roles = "  ".join(f"{r} {s:.1f}" for r, s in sorted(found.cpu_s.items(), key=lambda i: -i[1]))
                print(
                    f"{tree} workers {workers}: clock {found.clock_s:.1f} s, CPU {found.total_s:.1f} s "
                    f"({roles}) {busy}",
                    flush=True,
                )
                if options.detail:
                    print("   ", "  ".join(f"{r} {s:.2f}" for r, s in found.detail if s >= 0.05))
                    print("   ", "  ".join(f"{n} {s:.2f}" for n, s in found.phases_s.items()), flush=True)
    for (tree, workers), runs in results.items():
        clock = statistics.median(r.clock_s for r in runs)
        cpu = statistics.median(r.total_s for r in runs)
        print(f"| {tree} | {workers} | {clock:.1f} | {cpu:.1f} |")


if __name__ == "__main__":
    main()
