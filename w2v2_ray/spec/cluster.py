"""How many workers a job may have and what each needs."""

from __future__ import annotations

from collections.abc import Iterator

from w2v2_ray.spec.base import Finding, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Spec


class ElasticSpec(Spec):
    """Workers that may be alive at once. The result does not depend on how many are."""

    min_workers: PositiveInt = 1
    """The run waits when fewer can be had."""
    max_workers: PositiveInt = 1
    """The run never asks for more."""

    def broken_rules(self) -> Iterator[Finding]:
        """The range must not be empty."""
        if self.min_workers > self.max_workers:
            yield Finding(
                f"min_workers: {self.min_workers} is above max_workers: {self.max_workers}; "
                f"use max_workers: {self.min_workers} for a fixed size",
                ("min_workers", "max_workers"),
            )


class WorkerSpec(Spec):
    """Resources of one worker, as Ray schedules them."""

    cpus: PositiveFloat = 1.0
    """CPU cores."""
    gpus: NonNegativeFloat = 0.0
    """GPUs; 1 on a GPU cluster, 0 trains on the CPU."""


class FailureSpec(Spec):
    """How much misfortune a run survives."""

    max_failures: NonNegativeInt = 100
    """Worker failures before the run gives up. Every restart resumes from the newest good checkpoint."""
