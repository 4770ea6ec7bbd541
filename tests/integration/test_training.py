"""`w2v2-ray train` as a user runs it: two Ray workers, killed and started again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner
from without_ray import command_without_ray

from w2v2_ray.cli.app import app
from w2v2_ray.run.checkpoints.files import list_checkpoints, newest_good, update_of
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.loading import dump_job

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

UPDATES = 12
COMMAND = "from w2v2_ray.cli.app import main; main()"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


class Command:
    """`w2v2-ray train` in a process of its own."""

    def __init__(self, job: Path, *options: str) -> None:
        self._log = job.parent / f"output-{time.monotonic_ns()}.txt"
        command = [sys.executable, "-c", COMMAND, "train", str(job), *options]
        with self._log.open("w") as out:
            # In the job's folder: its paths are relative, and workers must find them all the same.
            self._process = psutil.Popen(command, env=ENVIRONMENT, cwd=job.parent, stdout=out, stderr=out)

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait(self) -> int:
        """Its exit code."""
        try:
            return int(self._process.wait(timeout=240))
        finally:
            self.kill()

    def wait_for(self, path: Path) -> None:
        """Wait until it has made a file, or a folder."""
        deadline = time.monotonic() + 200
        while not path.exists():
            assert self._process.poll() is None, self.output
            assert time.monotonic() < deadline, f"{path} does not appear:\n{self.output}"
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL for the command, Ray's servers and the workers."""
        with contextlib.suppress(psutil.NoSuchProcess):
            tree = [*self._process.children(recursive=True), self._process]
            for member in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(tree, timeout=30)


def metrics_of(run: RunFolder) -> list[dict[str, Any]]:
    return list(read_lines(run.metrics))


@pytest.fixture(scope="module")
def job(make_tiny_job, tiny_dataset: Path, tiny_validation: Path, tmp_path_factory) -> PretrainJob:
    folder = tmp_path_factory.mktemp("job")
    (folder / "train").symlink_to(tiny_dataset)
    (folder / "held-out").symlink_to(tiny_validation)
    return make_tiny_job(
        Path("runs"),
        {
            "name": str(folder.name),
            "data.train": "train",
            "data.validation": "held-out",
            "checkpoint.every_updates": 4,
            "elastic.min_workers": 2,
            "elastic.max_workers": 2,
        },
        updates=UPDATES,
    )


@pytest.fixture(scope="module")
def job_file(job: PretrainJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.getbasetemp() / job.name / "job.yaml"
    path.write_text(dump_job(job))
    return path


@pytest.fixture(scope="module")
def killed_and_resumed(job: PretrainJob, job_file: Path) -> tuple[RunFolder, str]:
    """A run killed as a whole after its first checkpoint and finished by the same command, and what that printed."""
    run = RunFolder(job_file.parent / "runs" / job.name)
    first = Command(job_file)
    try:
        first.wait_for(run.checkpoints / "update-00000004")
    finally:
        first.kill()
    assert len(metrics_of(run)) < UPDATES, "the run was finished before it could be killed"
    second = Command(job_file)
    assert second.wait() == 0, second.output
    return run, second.output


def test_a_job_killed_as_a_whole_is_finished_by_the_same_command(killed_and_resumed):
    run, output = killed_and_resumed
    assert [record["update"] for record in metrics_of(run)] == list(range(1, UPDATES + 1))
    assert {record["world_size"] for record in metrics_of(run)} == {2}
    names = [event["event"] for event in read_lines(run.events)]
    assert [names.count(name) for name in ("launch", "start", "resume", "end")] == [2, 1, 1, 1]
    assert newest_good(run.checkpoints, lambda path, error: None) == run.checkpoints / f"update-{UPDATES:08d}"
    assert f"run finished: {run.path} ({UPDATES} updates)" in output
    assert f"update {UPDATES}/{UPDATES}  loss " in output
    assert "Traceback" not in output
    assert not list(run.path.glob(".fatal-*"))


def test_two_ray_workers_give_what_one_process_without_ray_gives(killed_and_resumed, job_file: Path):
    run, _ = killed_and_resumed
    alone = RunFolder(job_file.parent / "alone")
    program = command_without_ray(job_file, alone.path)
    subprocess.run(program, env=ENVIRONMENT, cwd=job_file.parent, check=True, timeout=200)
    for one, other in zip(metrics_of(run), metrics_of(alone), strict=True):
        for name in ("loss", "accuracy", "grad_norm", "code_perplexity", "masked_frames"):
            assert one[name] == other[name], f"{name} of update {one['update']}"
    assert list(read_lines(run.samples)) == list(read_lines(alone.samples))


def test_the_command_refuses_what_would_spoil_a_run(
    killed_and_resumed, job_file: Path, monkeypatch: pytest.MonkeyPatch
):
    run, _ = killed_and_resumed
    monkeypatch.chdir(job_file.parent)
    before = {path: path.read_bytes() for path in (run.spec, run.metrics)}
    for options, message in (
        (["--no-resume"], "this run exists; use another name"),
        (["--set", "seed=5"], "this run began with another seed"),
        (["--set", "storage_path=tape://bucket/runs"], "cannot be opened as a storage URI"),
        (["--set", "data.train=nowhere"], "nowhere"),
    ):
        result = CliRunner().invoke(app, ["train", str(job_file), *options])
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.output.split())
        assert "Traceback" not in result.output
    assert {path: path.read_bytes() for path in before} == before


def test_an_error_no_retry_can_mend_ends_the_command_with_2_and_one_message(killed_and_resumed, job_file: Path):
    run, _ = killed_and_resumed
    checkpoints = list_checkpoints(run.checkpoints)
    for path in checkpoints:
        file = path / "state-00000.safetensors"
        file.write_bytes(file.read_bytes()[:-1])
    command = Command(job_file, "--set", "elastic.min_workers=1", "--set", "elastic.max_workers=1")
    assert command.wait() == 2, command.output
    assert command.output.count("none of its 2 checkpoints can be used") == 1
    assert "Traceback" not in command.output
    damaged = [event for event in read_lines(run.events) if event["event"] == "checkpoint_damaged"]
    # Once each: the workers did not try again.
    assert sorted(event["checkpoint"] for event in damaged) == [path.name for path in checkpoints]
    assert [update_of(path) for path in checkpoints] == [8, 12]
    assert len(metrics_of(run)) == UPDATES
