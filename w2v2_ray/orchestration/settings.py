"""Ray's settings for a run that is to recover quickly. Its defaults allow a hung worker ten minutes."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any

from w2v2_ray.spec.job import TrainJob

POLL_INTERVAL_S = 0.5
"""Between two looks of the controller at its workers, and at the nodes that are to be drained."""
GROUP_SHUTDOWN_S = 2
"""Patience with workers of a broken group that leave the process group; a dead one never answers."""


def ray_variables(job: TrainJob) -> dict[str, str]:
    """Environment variables that Ray Train reads in the driver and gives to the controller and the workers."""
    failure = job.failure
    return {
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(POLL_INTERVAL_S),
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(failure.hang_timeout_s),
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(failure.start_timeout_s),
        "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": str(failure.collective_timeout_s),
        "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": str(POLL_INTERVAL_S),
        "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": str(GROUP_SHUTDOWN_S),
    }


def set_ray_variables(job: TrainJob, environment: MutableMapping[str, str] | None = None) -> None:
    """Set them for this process. What the user has set stays. Before Ray Train is imported."""
    environment = os.environ if environment is None else environment
    for name, value in ray_variables(job).items():
        environment.setdefault(name, value)


def cluster_settings() -> dict[str, Any]:
    """Settings of a Ray cluster that we start ourselves: a lost node is noticed in 3 s instead of 15 s or more."""
    return {
        "health_check_initial_delay_ms": 2000,
        "health_check_period_ms": 1000,
        "health_check_timeout_ms": 2000,
        "health_check_failure_threshold": 3,
    }


def own_cluster_settings() -> dict[str, Any]:
    """Settings of a Ray cluster that is started for one run: its processes are made ready while they wait."""
    return {**cluster_settings(), "preload_python_modules": ["w2v2_ray.orchestration.ray_private.preloaded"]}
