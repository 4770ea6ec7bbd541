"""A job submitted to a cluster without any worker node: Ray's real autoscaler starts them, and takes them away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from autoscaling_cluster import AutoscalingCluster

from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.loading import dump_job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

UPDATES = 30
PATIENCE_S = 400.0
"""For a machine that is busy with other things; a quiet one needs less than a minute."""


def test_a_submitted_job_gets_its_nodes_ends_with_0_and_gives_them_back(make_tiny_job, tmp_path: Path):
    job = make_tiny_job(
        # Relative: it means the folder given as --root, here as on a cluster.
        Path("runs"),
        {"data.validation": [], "elastic.min_workers": 2, "elastic.max_workers": 2, "checkpoint.every_updates": 10},
        updates=UPDATES,
    )
    job_file, log = tmp_path / "job.yaml", tmp_path / "submit.log"
    job_file.write_text(dump_job(job))
    run = RunFolder(tmp_path / "runs" / job.name)
    cluster = AutoscalingCluster()
    counts = [len(cluster.nodes())]
    try:
        command = cluster.submit(
            str(job_file), "--working-dir", f"local://{tmp_path}", "--root", str(tmp_path), "--follow", log=log
        )
        deadline = time.monotonic() + PATIENCE_S
        while (command.poll() is None or counts[-1]) and time.monotonic() < deadline:
            if (count := len(cluster.nodes())) != counts[-1]:
                counts.append(count)
            time.sleep(0.2)
        assert command.poll() == 0, log.read_text()[-4000:]
    finally:
        cluster.close()
    assert counts[0] == counts[-1] == 0
    assert max(counts) == 2
    records = list(read_lines(run.metrics))
    assert [record["update"] for record in records] == list(range(1, UPDATES + 1))
    assert {record["world_size"] for record in records} == {2}
    assert [event["event"] for event in read_lines(run.events)][-1] == "end"
    assert "submitted run-" in log.read_text()
