"""What Ray calls on a worker. Imports nothing: the driver, which names it, needs no torch."""

from __future__ import annotations

from typing import Any

from w2v2_ray.importing import no_collection


def train_worker(config: dict[str, Any]) -> None:
    """Train as one worker of the group; see `worker.train_worker`."""
    with no_collection():
        from w2v2_ray.orchestration import worker
    worker.train_worker(config)
