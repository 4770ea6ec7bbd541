from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from w2v2_ray.spec.loading import load_job
from w2v2_ray.spec.sweep_loading import load_sweep
from w2v2_ray.tune.measurement import Measurements

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SWEEP = """kind: sweep
name: tiny
storage_path: {storage}
base:
  job: {{kind: pretrain, preset: tiny, data: {{train: nowhere}}}}
  set: {{batch: {{max_tokens: 32_000, max_samples: 32_000, sub_batches_per_update: 2}}, engine.threads: 1}}
space:
  parameters:
    model.encoder.hourglass:
      choices: [null, {{shorten_factor: 2}}, {{shorten_factor: 1}}]
      labels: ["off", factor 2, factor 1]
repeats: 1
throughput: {{warmup_updates: 0, timed_updates: 1}}
"""


def start(path, log):
    code = "from w2v2_ray.cli.app import main; main()"
    command = [sys.executable, "-c", code, "tune", str(path), "--no-dashboard"]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "RAY_ADDRESS": "local"})


def wait_until(condition, process, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, "the sweep ended before it was to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.timeout(600)  # four processes import torch, one after the other
def test_a_killed_sweep_resumes_without_measuring_again_and_reports(tmp_path):
    path, log_path = tmp_path / "sweep.yaml", tmp_path / "log"
    path.write_text(SWEEP.format(storage=tmp_path / "sweeps"))
    assert len(load_sweep(path).parameters) == 1
    measurements = Measurements(tmp_path / "sweeps" / "tiny" / "measurements")
    with log_path.open("w") as log:
        first = start(path, log)
        wait_until(lambda: len(list(measurements)) >= 1, first)
        first.send_signal(signal.SIGKILL)
        first.wait()
        before = {entry.file_name: entry for entry in measurements}
        assert len(before) == 1
        assert start(path, log).wait(timeout=200) == 0, log_path.read_text()
    after = {entry.file_name: entry for entry in measurements}
    assert len(after) == 2
    assert {name: after[name] for name in before} == before
    assert all(entry.ok for entry in after.values())
    folder = tmp_path / "sweeps" / "tiny"
    report = (folder / "report.md").read_text()
    assert "| factor 1 |" in report
    assert "does not shorten anything" in report
    assert load_job(folder / "best.yaml").job.name == "tiny_best"
    assert list(folder.glob("tune/*/events.out.tfevents*"))
    assert "measuring with noise" in log_path.read_text()


QUALITY = """kind: sweep
name: learn
storage_path: {storage}
mode: quality
base:
  job: {{kind: pretrain, preset: tiny, data: {{train: {data}}}}}
  set:
    batch: {{max_tokens: 40_000, min_samples: 8_000, max_samples: 12_000}}
    engine.threads: 1
    logging.tensorboard: false
    checkpoint.snapshot_updates: null
space: {{parameters: {{optim.lr: [1e-3, 1e-5]}}}}
repeats: 1
quality: {{budget_updates: 12, report_updates: 4, asha: {{grace_updates: 4}}}}
"""


@pytest.mark.timeout(600)
@pytest.mark.long
def test_a_quality_sweep_compares_losses_and_names_the_lowest(tmp_path, tiny_dataset):
    path, log_path = tmp_path / "sweep.yaml", tmp_path / "log"
    path.write_text(QUALITY.format(storage=tmp_path / "sweeps", data=tiny_dataset))
    with log_path.open("w") as log:
        assert start(path, log).wait(timeout=400) == 0, log_path.read_text()
    folder = tmp_path / "sweeps" / "learn"
    measurements = list(Measurements(folder / "measurements"))
    assert [entry.status for entry in measurements] == ["ok", "ok"]
    updates = [entry.figures["update"] for entry in measurements]
    assert max(updates) == 12
    report = (folder / "report.md").read_text()
    assert "| configuration | loss at 12 updates |" in report
    assert "budget spent" in report
    assert (folder / "curves.png").exists()
    assert load_job(folder / "best.yaml").job.name == "learn_best"
