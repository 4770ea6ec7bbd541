"""One function on several Ray workers, each with its number."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def run_on_workers(function: Callable[[int], T], workers: int, *, gpus: float = 0.0) -> list[T]:
    """Call `function(rank)` on `workers` Ray workers; results by rank.

    Joins the cluster that the environment names, else starts one here.
    """
    import os

    import ray

    started_here = not ray.is_initialized()
    if started_here:
        options = {} if os.environ.get("RAY_ADDRESS") else {"address": "local", "num_cpus": workers}
        ray.init(include_dashboard=False, logging_level=logging.WARNING, log_to_driver=False, **options)
    try:
        remote = ray.remote(num_cpus=1, num_gpus=gpus)(function)
        results: list[T] = ray.get([remote.remote(rank) for rank in range(workers)])
        return results
    finally:
        if started_here:
            ray.shutdown()
