"""A run on a real cluster of several nodes: a worker is killed, a node is added, and nothing shows in the results."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import pytest
from elastic_cluster import Driver, LocalCluster, RunWatch
from without_ray import command_without_ray

from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.loading import dump_job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

UPDATES = 120


@pytest.fixture(scope="module")
def runs(make_tiny_job, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder]:
    """A run that was harmed, and the same run of one worker left in peace."""
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
        },
        updates=UPDATES,
    )
    job_file = folder / "job.yaml"
    job_file.write_text(dump_job(job))
    harmed, alone = RunFolder(folder / "runs" / job.name), RunFolder(folder / "alone")
    reference = subprocess.Popen(command_without_ray(job_file, alone.path))
    cluster = LocalCluster(1)
    driver = Driver(job_file, cluster.address)
    watch = RunWatch(harmed, driver)
    try:
        watch.wait_for_update(10)
        (worker,) = cluster.workers()
        worker.kill()
        killed_at = time.time()
        cluster.add_node()  # while the worker is being replaced; the run is resized once it trains again
        watch.wait_for("recovery", lambda: [e for e in watch.events("recovered") if e["time"] > killed_at])
        watch.wait_for("two workers", lambda: watch.world_size() == 2)
        watch.wait_until_over()
        assert reference.wait(200) == 0
    finally:
        driver.kill()
        cluster.close()
        reference.kill()
    return harmed, alone


def metrics_of(run: RunFolder) -> list[dict[str, Any]]:
    return list(read_lines(run.metrics))


def test_every_update_has_the_loss_of_the_run_left_in_peace(runs):
    harmed, alone = runs
    assert [record["update"] for record in metrics_of(harmed)] == list(range(1, UPDATES + 1))
    assert {record["world_size"] for record in metrics_of(harmed)} == {1, 2}
    pairs = list(zip(metrics_of(harmed), metrics_of(alone), strict=True))
    assert [one["masked_frames"] for one, _ in pairs] == [other["masked_frames"] for _, other in pairs]
    # Not nearly: gradients are added up exactly, so that not a bit depends on who computed what.
    for figure in ("loss", "loss_contrastive", "accuracy", "grad_norm", "code_perplexity"):
        assert [one[figure] for one, _ in pairs] == [other[figure] for _, other in pairs]


def test_every_update_used_the_same_utterances_once(runs):
    harmed, alone = runs
    assert list(read_lines(harmed.samples)) == list(read_lines(alone.samples))
    used: dict[int, list[str]] = {}
    for record in read_lines(harmed.samples):
        used.setdefault(record["epoch"], []).extend(record["utterances"])
    finished = sorted(used)[:-1]
    assert len(finished) >= 2
    for epoch in finished:
        assert sorted(used[epoch]) == [f"{number:02d}" for number in range(2, 36)]


def test_what_happened_is_written_down_with_its_cost(runs):
    events = list(read_lines(runs[0].events))
    names = [event["event"] for event in events]
    assert [names.count(name) for name in ("launch", "start", "worker_lost", "resize", "resume", "end")] == [
        1, 1, 1, 1, 2, 1,
    ]  # fmt: skip
    (resize,) = [event for event in events if event["event"] == "resize"]
    assert (resize["from"], resize["to"]) == (1, 2)
    recoveries = [event for event in events if event["event"] == "recovered"]
    assert [event["world_size"] for event in recoveries] == [1, 2]
    for event in recoveries:
        assert event["seconds_to_next_update"] > 0
        assert event["updates_recomputed"] >= 0
