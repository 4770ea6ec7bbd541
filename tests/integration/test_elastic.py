"""A run on a real cluster of several nodes: a worker is killed, a node is added, and nothing shows in the results."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any

import psutil
import pytest
from elastic_cluster import Driver, LocalCluster, RunWatch
from without_ray import command_without_ray

from w2v2_ray.reporting.run_summary import read_run, summarise
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.loading import dump_job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

UPDATES = {"restart": 120, "go_on": 100_000}
"""Of some milliseconds each. Where nobody waits for a restart, the run is ended once enough has happened to it."""


@pytest.fixture(scope="module", params=["go_on", pytest.param("restart", marks=pytest.mark.long)])
def runs(make_tiny_job, tmp_path_factory: pytest.TempPathFactory, request) -> tuple[RunFolder, RunFolder, str]:
    """A run that was harmed, the same run of one worker left in peace, and what its others do at a fault."""
    folder = tmp_path_factory.mktemp("elastic")
    job = make_tiny_job(
        folder / "runs",
        {
            "data.validation": [],
            "checkpoint.every_updates": 100,
            "checkpoint.snapshot_updates": 5,
            "checkpoint.snapshot_s": 0.5,
            "elastic.min_workers": 1,
            "elastic.max_workers": 2,
            "elastic.stable_s": 1.0,
            "elastic.resize_interval_s": 0.0,
            "elastic.on_fault": request.param,
        },
        updates=UPDATES[request.param],
    )
    job_file = folder / "job.yaml"
    job_file.write_text(dump_job(job))
    harmed, alone = RunFolder(folder / "runs" / job.name), RunFolder(folder / "alone")
    harm = _restart if request.param == "restart" else _go_on
    cluster = LocalCluster(1)
    driver = Driver(job_file, cluster.address)
    try:
        watch = RunWatch(harmed, driver)
        harm(cluster, watch)
    finally:
        driver.kill()
        cluster.close()
    made = watch.update()
    reference = subprocess.Popen(command_without_ray(job_file, alone.path))
    try:
        deadline = time.monotonic() + 300
        while reference.poll() is None and RunWatch(alone, driver).update() <= made and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        reference.kill()
        reference.wait()
    return harmed, alone, request.param


def _restart(cluster: LocalCluster, watch: RunWatch) -> None:
    """The only worker is killed, and a node comes."""
    watch.wait_for_update(10)
    (worker,) = cluster.workers()
    worker.kill()
    killed_at = time.time()
    cluster.add_node()  # while the worker is being replaced; the run is resized once it trains again
    watch.wait_for("recovery", lambda: [e for e in watch.events("recovered") if e["time"] > killed_at])
    watch.wait_for("two workers", lambda: watch.world_size() == 2)
    watch.wait_until_over()


def _go_on(cluster: LocalCluster, watch: RunWatch) -> None:
    """A node comes, and the worker that trained alone until then is killed."""
    watch.wait_for_update(10)
    (first,) = watch.events("joined")
    cluster.add_node()
    watch.wait_for("two workers", lambda: watch.world_size() == 2)
    psutil.Process(first["pid"]).kill()
    watch.wait_for("going on", lambda: [e for e in watch.events("going_on") if e["gone"]])
    watch.wait_for_update(watch.update() + 50)
    watch.driver.process.send_signal(signal.SIGINT)
    assert watch.driver.process.wait(60) == 130


def metrics_of(run: RunFolder) -> list[dict[str, Any]]:
    return list(read_lines(run.metrics))


def test_every_update_has_the_loss_of_the_run_left_in_peace(runs):
    harmed, alone, on_fault = runs
    made = len(metrics_of(harmed))
    assert made == UPDATES[on_fault] if on_fault == "restart" else made > 60
    assert [record["update"] for record in metrics_of(harmed)] == list(range(1, made + 1))
    assert {record["world_size"] for record in metrics_of(harmed)} == {1, 2}
    pairs = list(zip(metrics_of(harmed), metrics_of(alone)[:made], strict=True))
    assert [one["masked_frames"] for one, _ in pairs] == [other["masked_frames"] for _, other in pairs]
    # Not nearly: gradients are added up exactly, so that not a bit depends on who computed what.
    for figure in ("loss", "loss_contrastive", "accuracy", "grad_norm", "code_perplexity"):
        assert [one[figure] for one, _ in pairs] == [other[figure] for _, other in pairs]


def test_every_update_used_the_same_utterances_once(runs):
    harmed, alone, _ = runs
    traced = list(read_lines(harmed.samples))
    assert traced == list(read_lines(alone.samples))[: len(traced)]
    used: dict[int, list[str]] = {}
    for record in read_lines(harmed.samples):
        used.setdefault(record["epoch"], []).extend(record["utterances"])
    finished = sorted(used)[:-1]
    assert len(finished) >= 2
    for epoch in finished:
        assert sorted(used[epoch]) == [f"{number:02d}" for number in range(2, 36)]


def test_what_happened_is_written_down_with_its_cost(runs):
    harmed, _, on_fault = runs
    events = list(read_lines(harmed.events))
    names = [event["event"] for event in events]
    told = ("launch", "start", "worker_lost", "interrupted" if on_fault == "go_on" else "end")
    assert [names.count(name) for name in told] == [1, 1, 1, 1]
    if on_fault == "go_on":
        assert not {"resume", "recovered", "resize"} & {*names}, "nobody began again"
        (lost,) = [event for event in events if event["event"] == "worker_lost"]
        assert lost["worker"] == "w0"
        changes = [(event["from"], event["to"], event["gone"]) for event in events if event["event"] == "going_on"]
        assert changes[:2] == [(1, 2, []), (2, 1, ["w0"])]
        assert summarise(read_run(harmed)).recomputed == 0
        return
    (resize,) = [event for event in events if event["event"] == "resize"]
    assert (resize["from"], resize["to"]) == (1, 2)
    recoveries = [event for event in events if event["event"] == "recovered"]
    assert [event["world_size"] for event in recoveries] == [1, 2]
    for event in recoveries:
        assert event["seconds_to_next_update"] > 0
        assert event["updates_recomputed"] >= 0
