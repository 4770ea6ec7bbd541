"""Does the curve know how many workers there were? Harms a run in many ways and compares it with one left in peace.

Run `python benchmarks/elastic.py --fixed 1 2 3 --resize --faults 20 --precision fp32` and see `benchmarks/ELASTIC.md`.
A real Ray cluster of one-CPU nodes is started on this machine; the job is tiny, with dropout and LayerDrop on.
Seconds depend on the machine and on what else runs on it: a restart imports torch once in every worker.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from elastic_cluster import Driver, LocalCluster, RunWatch

from w2v2_ray.engine.checkpoint.files import list_checkpoints, list_states
from w2v2_ray.engine.checkpoint.training_state import read_full_weights
from w2v2_ray.engine.run_folder import RunFolder, read_lines
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.loading import dump_job

UTTERANCES = 72
JOB: dict[str, Any] = {
    "kind": "pretrain",
    "model": {
        "feature_encoder": {
            "conv_layers": [[16, 10, 5], [16, 3, 2], [16, 3, 2], [16, 3, 2], [16, 3, 2], [16, 2, 2], [16, 2, 2]]
        },
        "encoder": {
            "layers": 3,
            "dim": 32,
            "ffn_dim": 48,
            "heads": 2,
            "position_kernel": 8,
            "position_groups": 4,
            "hourglass": {"pre_layers": 1, "middle_layers": 1, "post_layers": 1, "shorten_factor": 2},
            "dropout": 0.1,
            "layer_drop": 0.2,
        },
        "quantizer": {"entries": 8, "temperature_decay": 0.999},
        "masking": {"length_frames": 4},
        "final_dim": 16,
    },
    "loss": {"negatives": 5},
    "batch": {
        "max_tokens": 40_000,
        "size_multiple": 1,
        "sub_batches_per_update": 5,
        "concat": 1,
        "min_samples": 5_600,
        "max_samples": 14_000,
    },
    "optim": {"lr": 5e-4, "schedule": {"policy": "poly", "warmup_updates": 10}},
    "engine": {"threads": 1},
    "checkpoint": {
        "every_updates": 40,
        "keep_last": 2,
        "milestone_updates": None,
        # An update takes 0.1 s; with the defaults (15 s) a kill in every few seconds would only repeat them.
        "snapshot_updates": 5,
        "snapshot_s": 1.0,
    },
    "logging": {"tensorboard": False, "trace_samples": True},
}
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
    "driver killed and started again",
    "newest state truncated, worker killed",
)
"""The schedule's pieces; a node that is lost or drained is followed by one that is added."""


@dataclass
class Comparison:
    """A run beside the undisturbed one.

    Attributes:
        name: What was done to it.
        loss: Largest relative difference of the loss over all updates.
        weight: Largest absolute difference of a weight, over the largest absolute weight.
        updates: Updates that both logged once and in order.
        samples_equal: Every update used the same utterances.
        epochs: Finished epochs in which every utterance was used exactly once.
        lost_or_doubled: Utterances lost or doubled in them.
        world_sizes: Numbers of workers met.
    """

    name: str
    loss: float
    weight: float
    updates: int
    samples_equal: bool
    epochs: int
    lost_or_doubled: int
    world_sizes: list[int]


@dataclass
class Recovery:
    """From a fault to the next update, in seconds; `recomputed` updates were computed twice."""

    kind: str
    seconds: float
    recomputed: int
    world_size: int


@dataclass
class Report:
    """What was measured."""

    precision: str
    updates: int
    comparisons: list[Comparison] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    faults: int = 0
    events: dict[str, int] = field(default_factory=dict)
    load: float = 0.0


def make_dataset(folder: Path) -> Path:
    """Noisy tones of 0.35 to 1.1 s."""
    import soundfile

    from w2v2_ray.data.ingest_plan import IngestSettings
    from w2v2_ray.orchestration.ingest import prepare_dataset

    rng = np.random.default_rng(1)
    source = folder / "source"
    source.mkdir()
    for number in range(UTTERANCES):
        samples = 5_600 + 170 * number
        tone = 6_000 * np.sin(np.arange(samples) * rng.uniform(0.02, 0.5)) + rng.normal(0, 1_500, samples)
        soundfile.write(source / f"{number:03d}.wav", tone.astype(np.int16), 16_000)
    prepare_dataset(source, folder / "dataset", settings=IngestSettings(target_shard_bytes=400_000))
    return folder / "dataset"


def make_job(folder: Path, name: str, args: argparse.Namespace, workers: tuple[int, int], updates: int) -> PretrainJob:
    """The job under a name, for a range of workers."""
    job = json.loads(json.dumps(JOB))
    job |= {"name": name, "storage_path": str(folder / "runs"), "updates": updates}
    job["data"] = {"train": str(folder / "dataset")}
    job["engine"] |= {"precision": args.precision}
    # Faults come every few seconds here; the default waits a minute after a start before it resizes.
    elastic = {"min_workers": workers[0], "max_workers": workers[1], "stable_s": 2.0, "resize_interval_s": 5.0}
    return PretrainJob.model_validate(job | {"elastic": elastic})


class Bench:
    """Runs jobs under one folder."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self.folder = folder
        self.args = args
        self.updates = 60 if args.quick else args.updates
        self.report = Report(args.precision, self.updates)
        make_dataset(folder)

    def job_file(self, name: str, workers: tuple[int, int]) -> Path:
        """Write a job."""
        path = self.folder / f"{name}.yaml"
        path.write_text(dump_job(make_job(self.folder, name, self.args, workers, self.updates)))
        return path

    def run(self, name: str) -> RunFolder:
        """A run's folder."""
        return RunFolder(self.folder / "runs" / name)

    def undisturbed(self, name: str) -> None:
        """One worker in a process without Ray."""
        program = (
            "import sys; from w2v2_ray.engine.run_folder import RunFolder; from w2v2_ray.spec.loading import load_job;"
            "from w2v2_ray.engine.session import start_session; run = RunFolder(sys.argv[2]); run.create();"
            "session = start_session(load_job(sys.argv[1]).job, run); session.trainer.train()"
        )
        arguments = [str(self.job_file(name, (1, 1))), str(self.run(name).path)]
        process = psutil.Popen([sys.executable, "-c", program, *arguments])
        if process.wait():
            raise RuntimeError(f"the undisturbed run failed with {process.returncode}")

    def fixed(self, workers: int) -> None:
        """A fixed number of workers, left in peace."""
        name = f"fixed-{workers}"
        cluster = LocalCluster(workers)
        driver = Driver(self.job_file(name, (workers, workers)), cluster.address)
        try:
            RunWatch(self.run(name), driver).wait_until_over(1200)
        finally:
            driver.kill()
            cluster.close()
        self.compare(name, f"{workers} worker{'s' if workers > 1 else ''}, fixed")

    def resize(self) -> None:
        """1, 3, 2, 1 workers, with a kill among them."""
        name = "resize"
        cluster = LocalCluster(1)
        driver = Driver(self.job_file(name, (1, 3)), cluster.address)
        harm = Harm(self, cluster, driver, self.run(name))
        step = self.updates // 6
        try:
            harm.watch.wait_for_update(step)
            cluster.add_node()
            cluster.add_node()
            harm.watch.wait_for("3 workers", lambda: harm.watch.world_size() == 3)
            harm.watch.wait_for_update(2 * step)
            harm.inflict("worker killed", record=False)
            harm.watch.wait_for_update(3 * step)
            harm.inflict("node lost", record=False)
            harm.watch.wait_for_update(4 * step)
            harm.inflict("node drained", record=False)
            harm.watch.wait_until_over(1200)
        finally:
            driver.kill()
            cluster.close()
        self.compare(name, "resized 1, 3, 2, 1 with a worker killed")

    def faults(self, count: int) -> RunFolder:
        """A seeded schedule of faults."""
        name = "faults"
        cluster = LocalCluster(2)
        driver = Driver(self.job_file(name, (1, 3)), cluster.address)
        harm = Harm(self, cluster, driver, self.run(name))
        rng = random.Random(self.args.seed)
        step = (self.updates - 20) // count
        try:
            harm.watch.wait_for_update(10)
            for number in range(count):
                kind = FAULTS[number % len(FAULTS)]
                harm.watch.wait_for_update(10 + number * step + rng.randrange(max(1, step // 3)))
                began = time.monotonic()
                harm.inflict(kind, rng=rng)
                print(f"{number + 1:3d} {kind}: {time.monotonic() - began:.1f} s", flush=True)
            harm.watch.wait_until_over(1200)
        finally:
            driver.kill()
            cluster.close()
        self.report.faults = count
        self.report.events = dict(Counter(e["event"] for e in read_lines(self.run(name).events)))
        self.compare(name, f"{count} faults")
        return self.run(name)

    def compare(self, name: str, title: str) -> None:
        """Put a run beside the undisturbed one."""
        self.report.comparisons.append(compare(title, self.run("undisturbed"), self.run(name)))
        print(self.report.comparisons[-1], flush=True)


class Harm:
    """Inflicts faults on a run and waits until it trains on."""

    def __init__(self, bench: Bench, cluster: LocalCluster, driver: Driver, run: RunFolder) -> None:
        self.bench = bench
        self.cluster = cluster
        self.driver = driver
        self.run = run
        self.watch = RunWatch(run, driver)

    def inflict(self, kind: str, *, rng: random.Random | None = None, record: bool = True) -> None:
        """Do it and wait for the next update."""
        rng = rng or random.Random(0)
        if kind == "node added" and len(self.cluster.nodes) >= 3:
            kind = "node lost"
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
            "driver killed and started again": self._kill_driver,
            "newest state truncated, worker killed": self._truncate,
        }
        at = actions[kind](rng)
        event = self.watch.wait_for(f"recovery from: {kind}", lambda: self._recovered_since(at))
        if record:
            recovery = Recovery(kind, round(event["time"] - at, 2), event["updates_recomputed"], event["world_size"])
            self.bench.report.recoveries.append(recovery)

    def _recovered_since(self, at: float) -> dict[str, Any] | None:
        return next((event for event in self.watch.events("recovered") if event["time"] > at), None)

    def _kill(self, rng: random.Random) -> float:
        victim = rng.choice(self.cluster.workers())
        victim.kill()
        return time.time()

    def _hang(self, rng: random.Random) -> float:
        victim = rng.choice(self.cluster.workers())
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
        self._kill(rng)
        self.watch.wait_for("new workers", lambda: {w.pid for w in self.cluster.workers()} - before)
        time.sleep(rng.uniform(0.0, 3.0))
        fresh = [worker for worker in self.cluster.workers() if worker.pid not in before]
        if fresh:
            rng.choice(fresh).kill()
        return time.time()

    def _kill_twice(self, rng: random.Random) -> float:
        at = self._kill(rng)
        self.watch.wait_for("recovery", lambda: self._recovered_since(at))
        return self._kill(rng)

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


def compare(title: str, first: RunFolder, second: RunFolder) -> Comparison:
    """Losses of every update, final weights, and the utterances used."""
    one, other = (list(read_lines(run.metrics)) for run in (first, second))
    if [r["update"] for r in one] != [r["update"] for r in other]:
        raise RuntimeError(f"{title}: {len(one)} and {len(other)} updates were logged, or not in order")
    loss = max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(one, other, strict=True))
    weights = [read_full_weights(list_checkpoints(run.checkpoints)[-1]) for run in (first, second)]
    largest = max(float(weight.abs().max()) for weight in weights[0].values())
    weight = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    ledgers = [_ledger(run) for run in (first, second)]
    epochs, wrong = _accounted(ledgers[1])
    sizes = sorted({int(r["world_size"]) for r in other})
    return Comparison(title, loss, weight / largest, len(other), ledgers[0] == ledgers[1], epochs, wrong, sizes)


def _ledger(run: RunFolder) -> dict[tuple[int, int], Counter[str]]:
    ledger: dict[tuple[int, int], Counter[str]] = {}
    for record in read_lines(run.samples):
        key = (int(record["update"]), int(record["epoch"]))
        ledger[key] = ledger.get(key, Counter()) + Counter(record["utterances"])
    return ledger


def _accounted(ledger: dict[tuple[int, int], Counter[str]]) -> tuple[int, int]:
    """Finished epochs, and utterances lost or doubled in them."""
    used: dict[int, Counter[str]] = {}
    for (_, epoch), utterances in ledger.items():
        used[epoch] = used.get(epoch, Counter()) + utterances
    finished = [epoch for epoch in used if epoch < max(used)]
    names = {f"{number:03d}" for number in range(UTTERANCES)}
    return len(finished), sum(abs(used[epoch][name] - 1) for epoch in finished for name in names)


def plot(undisturbed: RunFolder, disturbed: RunFolder, out: Path) -> None:
    """Loss of both runs, and the workers of the disturbed one below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    calm, harmed = (list(read_lines(run.metrics)) for run in (undisturbed, disturbed))
    updates = [r["update"] for r in harmed]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(10, 5.2), sharex=True, height_ratios=(3, 1), constrained_layout=True
    )
    top.plot(updates, [r["loss"] for r in calm], lw=4, color="#b8c7d9", label="one worker, undisturbed")
    label = "workers killed, hung, added, removed"
    top.plot(updates, [r["loss"] for r in harmed], lw=0.9, color="#c0392b", label=label)
    top.set_ylabel("loss (bits per masked frame)")
    top.legend()
    top.grid(alpha=0.3)
    bottom.step(updates, [r["world_size"] for r in harmed], where="mid", color="#2c3e50", lw=1)
    for event in read_lines(disturbed.events):
        if event["event"] == "recovered":
            bottom.axvline(event["update"], color="#c0392b", lw=0.6, alpha=0.7)
    bottom.set_ylabel("workers")
    bottom.set_yticks([1, 2, 3])
    bottom.set_ylim(0.5, 3.5)
    bottom.set_xlabel("update (red: restarted here)")
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def markdown(report: Report, command: str) -> str:
    """The report as a section of `ELASTIC.md`."""
    lines = [
        f"## {report.precision}: {report.updates} updates",
        "",
        f"`{command}`",
        "",
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {platform.machine()}, {os.cpu_count()} cores, load average "
        f"{report.load:.1f}, this run included.",
        "",
        "Each against one worker left in peace, in a process without Ray:",
        "",
        "| run | workers met | largest relative loss difference of any update | largest weight difference, relative to "
        "the largest weight | same utterances in every update | finished epochs | utterances lost or doubled |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in report.comparisons:
        sizes = ", ".join(str(size) for size in c.world_sizes)
        lines.append(
            f"| {c.name} | {sizes} | {c.loss:.1e} | {c.weight:.1e} | {'yes' if c.samples_equal else 'NO'} "
            f"| {c.epochs} | {c.lost_or_doubled} |"
        )
    if report.recoveries:
        lines += ["", f"{report.faults} faults. Seconds from the fault to the next update, and updates computed twice:"]
        lines += ["", "| fault | times | seconds (median) | seconds (worst) | updates computed twice (worst) |"]
        lines += ["|---|---|---|---|---|"]
        for kind in dict.fromkeys(recovery.kind for recovery in report.recoveries):
            found = [recovery for recovery in report.recoveries if recovery.kind == kind]
            seconds = sorted(recovery.seconds for recovery in found)
            worst = max(recovery.recomputed for recovery in found)
            lines.append(f"| {kind} | {len(found)} | {np.median(seconds):.1f} | {seconds[-1]:.1f} | {worst} |")
        counts = ", ".join(f"{name} {count}" for name, count in sorted(report.events.items()))
        lines += ["", f"Events written: {counts}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is asked for, print Markdown, and keep the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fixed", type=int, nargs="*", default=[])
    parser.add_argument("--resize", action="store_true")
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="60 updates")
    parser.add_argument("--plot", type=Path, help="PNG to write, with --faults or --resize")
    parser.add_argument("--out", type=Path, help="Markdown file to append to")
    parser.add_argument("--keep", type=Path, help="folder to work in and leave behind")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="elastic-"))
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, args)
    bench.undisturbed("undisturbed")
    loads = [os.getloadavg()[0]]
    try:
        for workers in args.fixed:
            bench.fixed(workers)
            loads.append(os.getloadavg()[0])
        disturbed = None
        if args.resize:
            bench.resize()
            disturbed = bench.run("resize")
            loads.append(os.getloadavg()[0])
        if args.faults:
            disturbed = bench.faults(args.faults)
            loads.append(os.getloadavg()[0])
        bench.report.load = float(np.mean(loads))
        if args.plot and disturbed:
            plot(bench.run("undisturbed"), disturbed, args.plot)
    finally:
        (folder / "report.json").write_text(json.dumps(asdict(bench.report), indent=1))
        text = markdown(bench.report, "python benchmarks/elastic.py " + " ".join(sys.argv[1:]))
        print(text)
        if args.out:
            with args.out.open("a") as file:
                file.write(text + "\n")
        if args.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
