"""Kill a whole training job with SIGKILL in mid-run, give the same command again, and check its record.

    python benchmarks/kill_and_resume.py JOB --kill-at 120 [--set path=value ...]

Fails unless `metrics.jsonl` holds every update exactly once at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import psutil

from w2v2_ray.orchestration.launch import run_folder
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.loading import load_job_of


def start(job: str, settings: list[str]) -> subprocess.Popen[bytes]:
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-c", "from w2v2_ray.cli.app import main; main()", "train", job, *options]
    return subprocess.Popen(command, start_new_session=True)


def newest_update(run: RunFolder) -> int:
    return max((int(record["update"]) for record in read_lines(run.metrics)), default=0)


def kill_tree(process: subprocess.Popen[bytes]) -> int:
    """SIGKILL the driver and everything it started, workers and Ray's own processes too."""
    victims = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(victims, timeout=30)
    return len(victims)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job")
    parser.add_argument("--kill-at", type=int, required=True, help="update after which the job is killed")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    job = load_job_of(TrainJob, arguments.job, arguments.settings).job
    run = run_folder(job)

    first = start(arguments.job, arguments.settings)
    while newest_update(run) < arguments.kill_at:
        if first.poll() is not None:
            print(f"the job ended with {first.returncode} before update {arguments.kill_at}")
            return 1
        time.sleep(0.1)
    reached = newest_update(run)
    killed = kill_tree(first)
    print(f"killed {killed} processes after update {reached}")

    second = start(arguments.job, arguments.settings)
    if second.wait() != 0:
        print(f"the second launch ended with {second.returncode}")
        return 1
    updates = [int(record["update"]) for record in read_lines(run.metrics)]
    resumed = [event["update"] for event in read_lines(run.events) if event["event"] == "resume"]
    exact = updates == list(range(1, job.updates + 1))
    print(f"resumed from update {resumed}; {len(updates)} lines, every update once: {exact}")
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
