"""Opening the datasets of a job."""

from __future__ import annotations

from w2v2_ray.data.mixture import DatasetMixture, open_mixture
from w2v2_ray.spec.data import DatasetRef
from w2v2_ray.spec.job import TrainJob


def open_data(job: TrainJob, refs: tuple[DatasetRef, ...]) -> DatasetMixture:
    """Open a job's datasets; what the driver has checked is not checked again."""
    return open_mixture(
        [(ref.path, ref.repeat) for ref in refs],
        verify="none",
        cache_dir=job.data.cache_dir,
        cache_bytes=job.data.cache_bytes,
    )
