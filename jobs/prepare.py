"""Make a dataset on the cluster: `ray job submit ... -- python -m jobs.prepare SOURCE --out OUT --jobs 8`."""

from __future__ import annotations

import sys

from w2v2_ray.cli.job_entry import run

if __name__ == "__main__":
    run("prepare", sys.argv[1:])
