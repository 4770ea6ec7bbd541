"""Judge a recogniser on the cluster: `ray job submit ... -- python -m jobs.evaluate RUN DATASET --workers 4`."""

from __future__ import annotations

import sys

from w2v2_ray.cli.job_entry import run

if __name__ == "__main__":
    run("evaluate", sys.argv[1:])
