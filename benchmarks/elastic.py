"""Does the curve know how many workers there were? Harms a run in many ways and compares it with one left in peace.

Run `python benchmarks/elastic.py --fixed 1 2 3 --resize --faults 20 --precision fp32` and see `benchmarks/ELASTIC.md`.
A real Ray cluster of one-CPU nodes is started on this machine; the job is the tiny preset on synthesised speech (the
`demo` extra), with dropout and LayerDrop on.
Seconds depend on the machine and on what else runs on it: a restart imports torch once in every worker.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil
from elastic_cluster import Driver, LocalCluster, RunWatch
from elastic_faults import FAULTS, RARE, Harm
from elastic_job import make_dataset, make_job, utterances_of
from elastic_report import Report, compare, markdown, plot
from without_ray import command_without_ray

from w2v2_ray.run.checkpoints.files import list_checkpoints
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.loading import dump_job


class Bench:
    """Runs jobs under one folder."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self.folder = folder
        self.args = args
        self.updates = 60 if args.quick else args.updates
        self.report = Report(args.precision, self.updates)
        self.utterances = utterances_of(make_dataset(folder))

    def job_file(self, name: str, workers: tuple[int, int]) -> Path:
        """Write a job."""
        path = self.folder / f"{name}.yaml"
        settings = [f"engine.precision={self.args.precision}", f"updates={self.updates}", *self.args.set]
        path.write_text(dump_job(make_job(self.folder, name, settings, workers)))
        return path

    def run(self, name: str) -> RunFolder:
        """A run's folder."""
        return RunFolder(self.folder / "runs" / name)

    def undisturbed(self) -> RunFolder:
        """One worker in a process without Ray; made when it is first asked for, so that faults are measured alone."""
        name = "undisturbed"
        if list_checkpoints(self.run(name).checkpoints):
            return self.run(name)
        process = psutil.Popen(command_without_ray(self.job_file(name, (1, 1)), self.run(name).path))
        if process.wait():
            raise RuntimeError(f"the undisturbed run failed with {process.returncode}")
        return self.run(name)

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
        harm = Harm(cluster, driver, self.run(name))
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
        cluster = LocalCluster(3)
        driver = Driver(self.job_file(name, (1, 3)), cluster.address)
        harm = Harm(cluster, driver, self.run(name))
        rng = random.Random(self.args.seed)
        self.report.recoveries = harm.recoveries
        try:
            harm.watch.wait_for_update(10)
            until = time.monotonic() + 60 * self.args.minutes
            for number in range(count):
                if time.monotonic() > until:
                    count = number
                    break
                kind = FAULTS[number % len(FAULTS)]
                if kind in RARE and number // len(FAULTS) % 10:
                    kind = FAULTS[0]
                harm.wait_for_company()
                time.sleep(rng.uniform(0.2, 1.5))
                began = time.monotonic()
                harm.inflict(kind, rng=rng)
                last = harm.recoveries[-1]
                print(
                    f"{number + 1:3d} {last.kind}: {last.seconds:.2f} s, paused {last.paused_s}, at update "
                    f"{harm.watch.update()}, {time.monotonic() - began:.1f} s in all",
                    flush=True,
                )
            harm.watch.wait_until_over(2400)
        finally:
            driver.kill()
            cluster.close()
        self.report.faults = count
        self.report.events = dict(Counter(e["event"] for e in read_lines(self.run(name).events)))
        self.report.growth_s = [
            e["paused_s"] for e in read_lines(self.run(name).events) if e["event"] == "going_on" and e["joined"]
        ]
        self.compare(name, f"{count} faults")
        return self.run(name)

    def compare(self, name: str, title: str) -> None:
        """Put a run beside the undisturbed one."""
        self.report.comparisons.append(compare(title, self.undisturbed(), self.run(name), self.utterances))
        print(self.report.comparisons[-1], flush=True)


def main() -> None:
    """Run what is asked for, print Markdown, and keep the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fixed", type=int, nargs="*", default=[])
    parser.add_argument("--resize", action="store_true")
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="inflict no more faults after so long")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--set", nargs="*", default=[], metavar="path=value", help="other settings of the job")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="60 updates")
    parser.add_argument("--plot", type=Path, help="PNG to write, with --faults or --resize")
    parser.add_argument("--out", type=Path, help="Markdown file to append to")
    parser.add_argument("--keep", type=Path, help="folder to work in and leave behind")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="elastic-"))
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, args)
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
            plot(bench.undisturbed(), disturbed, args.plot)
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
