"""From submit to scale-down: an elastic job on Ray's real autoscaler, on this machine.

Run `python benchmarks/autoscaling.py --plot docs/autoscaling.png`. A cluster without a single worker node is started as
`cluster/local-autoscaling.yaml` says; `ray job submit` sends a job that wants one to three workers; a node is killed,
another one drained; the job ends and its nodes go away. The same job is then computed by one process without Ray, and
compared. The job is that of `elastic.py`: the tiny preset on synthesised speech (the `demo` extra), dropout and
LayerDrop on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from autoscaling_cluster import REPOSITORY, AutoscalingCluster
from elastic_cluster import RunWatch
from elastic_job import make_dataset, make_job, utterances_of
from elastic_report import compare
from without_ray import command_without_ray

from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.loading import dump_job

WORKERS = 3
_TOLD = (
    "launch",
    "start",
    "resume",
    "resize",
    "node_lost",
    "worker_lost",
    "node_drained",
    "start_failed",
    "end",
    "failed",
)


class NodeCount:
    """Looks twice a second how many worker nodes are up."""

    def __init__(self, cluster: AutoscalingCluster) -> None:
        self.changes: list[tuple[float, int]] = [(time.time(), 0)]
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            count = len(self._cluster.nodes())
            if count != self.changes[-1][1]:
                self.changes.append((time.time(), count))

    def close(self) -> None:
        """Look no longer."""
        self._stop.set()
        self._thread.join()


class Submitted:
    """`ray job submit`, as a driver that a `RunWatch` can watch."""

    def __init__(self, cluster: AutoscalingCluster, job: Path, log: Path) -> None:
        # Nodes of one machine share the folder that Ray unpacks uploads into, and each new one unpacks it anew under
        # the feet of the others; `local://` names a folder that every node has.
        ray = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", cluster.address]
        ray += ["--working-dir", f"local://{REPOSITORY}", "--", "python", "-m", "jobs.train", str(job)]
        self._log = log
        with log.open("w") as file:
            self.process = psutil.Popen(ray, env=cluster.environment, stdout=file, stderr=file)

    @property
    def output(self) -> str:
        """What was printed, its end."""
        return self._log.read_text()[-4000:]

    def alive(self) -> bool:
        """Whether the job goes on."""
        return bool(self.process.poll() is None)


def harm(cluster: AutoscalingCluster, watch: RunWatch, updates: int) -> list[tuple[float, str]]:
    """Kill a node at a third of the run and drain one at two thirds, each when all workers are there."""
    done = []
    watch.wait_for("all workers", lambda: watch.world_size() == WORKERS, 400)
    for share, what in ((1 / 3, "node killed"), (2 / 3, "node drained")):
        watch.wait_for_update(int(updates * share), 900)
        watch.wait_for("all workers", lambda: watch.world_size() == WORKERS, 400)
        node = cluster.node_with_worker()
        done.append((time.time(), what))
        if what == "node killed":
            cluster.kill_node(node)
        else:
            cluster.drain_node(node, deadline_s=30)
        # Not the workers of an update: where starts are slow, the run has all of them again before the next.
        watch.wait_for("fewer workers", lambda: [e for e in watch.events("resize") if e["time"] > done[-1][0]], 400)
    return done


def time_line(
    run: RunFolder, nodes: NodeCount, submitted: float, harmed: list[tuple[float, str]]
) -> list[tuple[float, str]]:
    """What happened, in seconds since the submission."""
    lines = [(submitted, "submitted with `ray job submit`; no worker node"), *harmed]
    lines += [(at, f"{count} node{'s' if count != 1 else ''} up") for at, count in nodes.changes[1:]]
    size = 0
    for record in read_lines(run.metrics):
        if record["world_size"] != size:
            size = record["world_size"]
            lines.append((record["time"], f"update {record['update']}: {size} worker{'s' if size != 1 else ''}"))
    for event in read_lines(run.events):
        if event["event"] in _TOLD:
            wanted = ("world_size", "update", "from", "to", "min_workers", "max_workers", "workers")
            details = ", ".join(f"{key} {event[key]}" for key in wanted if event.get(key) is not None)
            lines.append((event["time"], f"event {event['event']}" + (f" ({details})" if details else "")))
    return [(at - submitted, text) for at, text in sorted(lines)]


def plot(
    path: Path, run: RunFolder, nodes: NodeCount, submitted: float, ended: float, harmed: list[tuple[float, str]]
) -> None:
    """Loss above, nodes and workers below, over seconds since the submission."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    records = list(read_lines(run.metrics))
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(10, 6), sharex=True, height_ratios=(3, 2), layout="constrained")
    top.plot([r["time"] - submitted for r in records], [r["loss"] for r in records], ".", ms=2.5, color="tab:blue")
    top.set_ylabel("loss of an update, bits")
    top.set_title("An elastic job on Ray's autoscaler, from submit to scale-down")
    times = [at - submitted for at, _ in nodes.changes] + [ended - submitted]
    counts = [count for _, count in nodes.changes]
    bottom.fill_between(times, [*counts, counts[-1]], step="post", color="0.85", label="nodes up")
    bottom.step(*_workers(run, records, submitted), where="post", color="tab:orange", label="workers training")
    bottom.set_ylabel("count")
    bottom.set_yticks(range(WORKERS + 1))
    bottom.set_xlabel("seconds since `ray job submit`")
    marks = [*harmed, *((e["time"], "job ended") for e in read_lines(run.events) if e["event"] == "end")]
    for at, text in marks:
        for axis in (top, bottom):
            axis.axvline(at - submitted, color="tab:red", lw=0.8, ls="--")
        top.annotate(
            text, (at - submitted, 0.97), xycoords=("data", "axes fraction"), rotation=90, va="top", ha="right"
        )
    bottom.legend(loc="upper left")
    figure.savefig(path, dpi=130)


def _workers(run: RunFolder, records: list[dict[str, Any]], submitted: float) -> tuple[list[float], list[int]]:
    """Workers that train, as steps: none from a loss or a resize to the next update."""
    breaks = ("launch", "resize", "node_lost", "worker_lost", "node_drained", "end")
    points = [(r["time"], int(r["world_size"])) for r in records]
    points += [(e["time"], 0) for e in read_lines(run.events) if e["event"] in breaks]
    points.sort()
    return [at - submitted for at, _ in points], [count for _, count in points]


def main() -> None:
    """Run it, print the time line and the comparison, and keep the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for datasets and runs, kept")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="w2v2-autoscaling-"))
    folder.mkdir(parents=True, exist_ok=True)
    dataset = make_dataset(folder)
    settings = [f"engine.precision={args.precision}", f"updates={args.updates}", "elastic.resize_interval_s=25"]
    jobs = {}
    for name, workers in (("autoscaled", (1, WORKERS)), ("undisturbed", (1, 1))):
        jobs[name] = folder / f"{name}.yaml"
        jobs[name].write_text(dump_job(make_job(folder, name, settings, workers)))
    run, alone = RunFolder(folder / "runs" / "autoscaled"), RunFolder(folder / "runs" / "undisturbed")
    cluster = AutoscalingCluster()
    nodes = NodeCount(cluster)
    try:
        submitted = time.time()
        driver = Submitted(cluster, jobs["autoscaled"], folder / "submit.log")
        watch = RunWatch(run, driver)  # type: ignore[arg-type]  # it asks of a driver what Submitted has
        harmed = harm(cluster, watch, args.updates)
        watch.wait_until_over(1200)
        deadline = time.monotonic() + 120
        while nodes.changes[-1][1] and time.monotonic() < deadline:
            time.sleep(0.5)
        ended = time.time() + 5
        print(f"`ray job submit` ended with {driver.process.wait(10)}; nodes left: {nodes.changes[-1][1]}")
    finally:
        nodes.close()
        cluster.close()
    for at, text in time_line(run, nodes, submitted, harmed):
        print(f"{at:7.1f} s  {text}")
    if args.plot:
        plot(args.plot, run, nodes, submitted, ended, harmed)
    process = psutil.Popen(command_without_ray(jobs["undisturbed"], alone.path))
    if process.wait():
        raise RuntimeError(f"the undisturbed run failed with {process.returncode}")
    print(compare("autoscaled", alone, run, utterances_of(dataset)))
    if not args.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
