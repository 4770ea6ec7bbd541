"""A run that its cluster has no room for says so, and one Ctrl-C ends it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from elastic_cluster import Driver, LocalCluster, RunWatch

from w2v2_ray.reporting.run_summary import read_run, summarise
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.loading import dump_job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    cluster = LocalCluster(1)
    yield cluster
    cluster.close()


@pytest.mark.parametrize(
    ("on_fault", "max_workers"),
    [("go_on", 1), ("restart", 2)],
    ids=["going on, of one size", "restarting, elastic"],
)
def test_what_is_waited_for_is_said_and_one_interrupt_ends_the_waiting(
    cluster, make_tiny_job, tmp_path, on_fault, max_workers
):
    elastic = {"elastic.max_workers": max_workers, "elastic.on_fault": on_fault}
    job = make_tiny_job(tmp_path, {"worker.cpus": 2, "data.validation": [], **elastic})
    job_file = tmp_path / "job.yaml"
    job_file.write_text(dump_job(job))
    run = RunFolder(tmp_path / job.name)
    driver = Driver(job_file, cluster.address)
    watch = RunWatch(run, driver)
    said = "waiting for 1 worker with {CPU: 2}: the cluster has 1 CPU in 2 nodes, free: 1 CPU; it has no autoscaler"
    try:
        watch.wait_for("the reason", lambda: said in driver.output)
        summary = summarise(read_run(run))
        assert (summary.state, summary.failures) == ("waiting", {})
        assert summary.waiting is not None
        assert summary.waiting.startswith(said)
        driver.process.send_signal(signal.SIGINT)
        assert driver.process.wait(60) == 130
    finally:
        driver.kill()
    assert "interrupted" in driver.output
    assert "Traceback" not in driver.output
    assert summarise(read_run(run)).state == "stopped"
