"""Train a job on the cluster that runs this: `ray job submit --working-dir . -- python -m jobs.train jobs/x.yaml`."""

from __future__ import annotations

import sys

from w2v2_ray.cli.job_entry import run

if __name__ == "__main__":
    run("train", sys.argv[1:])
