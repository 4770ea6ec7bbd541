"""What a run's result depends on. Imports no torch: the driver, which never computes, asks for it too."""

from __future__ import annotations

import hashlib

from w2v2_ray.spec.job import TrainJob


def run_identity(job: TrainJob, fingerprint: str) -> dict[str, str]:
    """Digests of what a run's result depends on; a checkpoint of another identity is not resumed."""
    digests = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in job.identity().items()}
    return {**digests, "dataset": fingerprint}
