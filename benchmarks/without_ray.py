"""A training run in one process without Ray, to compare others with: `python benchmarks/without_ray.py JOB RUN`."""

from __future__ import annotations

import sys
from pathlib import Path


def command_without_ray(job_file: Path, run: Path) -> list[str]:
    """What to execute to train a job in one worker that is left in peace.

    Args:
        job_file: The job; its storage path and name are not looked at.
        run: The run's folder, which is made.
    """
    return [sys.executable, str(Path(__file__).resolve()), str(job_file), str(run)]


def main(job_file: str, place: str) -> None:
    """Train."""
    from w2v2_ray.run.folder import RunFolder
    from w2v2_ray.spec.job import TrainJob
    from w2v2_ray.spec.loading import load_job_of
    from w2v2_ray.training.session import start_session

    run = RunFolder(Path(place))
    run.create()
    session = start_session(load_job_of(TrainJob, Path(job_file)).job, run)
    session.trainer.train()
    session.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
