"""From audio to a finished run without a shared disk: prepare to a store, train from and to it, lose the driver."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from without_ray import command_without_ray

from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.run.opening import open_run
from w2v2_ray.spec.loading import dump_job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

UPDATES = 40
COMMAND = [sys.executable, "-c", "from w2v2_ray.cli.app import main; main()"]


def test_a_run_on_a_store_whose_driver_is_killed_ends_with_the_losses_of_a_local_one(
    s3: str, make_tiny_job, tiny_dataset: Path, tmp_path: Path
):
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    dataset = f"{s3}/data/tones"
    subprocess.run([*COMMAND, "prepare", str(tiny_dataset.parent / "source"), "--out", dataset], check=True)
    changes = {
        "data.validation": [],
        "data.cache_dir": str(tmp_path / "cache"),
        "checkpoint.every_updates": 20,
        "checkpoint.snapshot_updates": 4,
        "checkpoint.snapshot_s": 0.0,
        "elastic.min_workers": 1,
        "elastic.max_workers": 1,
    }
    job = make_tiny_job(f"{s3}/runs", {**changes, "data.train": dataset}, updates=UPDATES)
    (tmp_path / "job.yaml").write_text(dump_job(job))
    train = [*COMMAND, "train", str(tmp_path / "job.yaml")]
    run = open_run(f"{s3}/runs/run", "view")

    driver = subprocess.Popen(train, env=environment)
    try:
        while not any(int(name.rpartition("-")[2]) >= 8 for name in run.state_names()):
            assert driver.poll() is None
            time.sleep(0.3)
    finally:
        driver.kill()
        driver.wait()
    subprocess.run(train, check=True, env=environment)

    local = make_tiny_job(tmp_path / "local", {**changes, "data.train": str(tiny_dataset)}, updates=UPDATES)
    (tmp_path / "local.yaml").write_text(dump_job(local))
    subprocess.run(command_without_ray(tmp_path / "local.yaml", tmp_path / "alone"), check=True)
    run.store.pull(samples=True)
    alone = RunFolder(tmp_path / "alone")
    ours, theirs = (list(read_lines(folder.metrics)) for folder in (run, alone))
    assert [record["update"] for record in ours] == list(range(1, UPDATES + 1))
    assert [r["loss"] for r in ours[:20]] == pytest.approx([r["loss"] for r in theirs[:20]], rel=1e-5)
    assert [r["masked_frames"] for r in ours] == [r["masked_frames"] for r in theirs]
    assert list(read_lines(run.samples)) == list(read_lines(alone.samples))
    names = [event["event"] for event in read_lines(run.events)]
    assert [names.count(name) for name in ("launch", "start", "resume", "end")] == [2, 1, 1, 1]
