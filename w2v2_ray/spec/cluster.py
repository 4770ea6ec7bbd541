"""How many workers a job may have and what each needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from w2v2_ray.spec.base import Finding, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Spec


class ElasticSpec(Spec):
    """Workers that may be alive at once. The result does not depend on how many are."""

    min_workers: PositiveInt = 1
    """The run waits when fewer can be had."""
    max_workers: PositiveInt = 1
    """The run never asks for more."""
    spares: NonNegativeInt = 0
    """Workers beyond `max_workers` that are made ready and wait, so that one that is lost is made up for within an
    update and not after a start; where survivors go on (`on_fault`)."""
    stable_s: NonNegativeFloat = 5.0
    """Where a resize is a restart, a running job is resized once the new size has been possible for so long, so that a
    node that flaps does not restart it. Lost workers are replaced at once."""
    resize_interval_s: NonNegativeFloat = 60.0
    """Least time between a start or restart and the next resize, where a resize is a restart."""
    on_fault: Literal["auto", "go_on", "restart"] = "auto"
    """What the others do when a worker is lost or comes. `go_on`: they keep what they hold and train on, and who comes
    gets the state from one of them; at ZeRO 0 and 1. `restart`: all start again from the last state. `auto`: go on
    where several workers compute on CPUs, restart on GPUs, where going on has not been tried yet. Not a bit of the
    result depends on it."""

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
    gpus: Literal["auto"] | NonNegativeFloat = "auto"
    """GPUs. `auto`: 1 where there are some when the run is launched, else 0, which trains on the CPU; a number waits
    for nodes that have them, and is refused on a machine that has not."""

    @property
    def gpu_count(self) -> float:
        """GPUs of a worker, in a job for which that is settled."""
        assert self.gpus != "auto", "settle_gpus comes first"
        return float(self.gpus)

    def broken_rules(self) -> Iterator[Finding]:
        """Ray shares one GPU between workers, or gives a worker whole ones."""
        if self.gpus != "auto" and self.gpus > 1 and self.gpus != int(self.gpus):
            yield Finding(
                f"gpus: {self.gpus:g} is above 1 and not whole; use gpus: {int(self.gpus)}, or a fraction of 1",
                ("gpus",),
            )


class FailureSpec(Spec):
    """How much misfortune a run survives."""

    max_failures: NonNegativeInt = 100
    """Worker failures before the run gives up. Every restart resumes from the newest good checkpoint. A node that is
    drained, and a restart to change the number of workers, do not count."""
    max_failures_without_progress: PositiveInt = 10
    """Failures in a row before the run gives up because no new state was saved between them: what fails at the same
    place each time, such as memory that never suffices, is not tried a hundred times."""
    hang_timeout_s: PositiveFloat = 10.0
    """A worker that does not answer for so long is killed and replaced."""
    start_timeout_s: PositiveFloat = 10.0
    """Time that a start waits for all its workers' resources before it looks again what the cluster has."""
    join_timeout_s: PositiveFloat = 60.0
    """Time that started workers wait for each other to come together: on each node Python and torch are read from its
    disk first. A worker that dies meanwhile is noticed only then, so slow disks want more and others no more."""
    collective_timeout_s: PositiveFloat = 300.0
    """Time that workers wait for each other in one collective operation, loading a checkpoint included."""
    storage_patience_s: NonNegativeFloat = 60.0
    """Time for which the last save of a run is tried again when the storage fails. Earlier saves are skipped instead,
    and made up for at the next snapshot."""
