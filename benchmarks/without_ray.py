"""A training run in one process without Ray, to compare others with."""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = """
import sys
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.training.session import start_session
from w2v2_ray.spec.loading import load_job
run = RunFolder(sys.argv[2])
run.create()
session = start_session(load_job(sys.argv[1]).job, run)
session.trainer.train()
session.close()
"""


def command_without_ray(job_file: Path, run: Path) -> list[str]:
    """What to execute to train a job in one worker that is left in peace.

    Args:
        job_file: The job; its storage path and name are not looked at.
        run: The run's folder, which is made.
    """
    return [sys.executable, "-c", _PROGRAM, str(job_file), str(run)]
