"""Opening the datasets of a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from w2v2_ray.data.dataset import Verify
from w2v2_ray.data.mixture import DatasetMixture, open_mixture
from w2v2_ray.spec.data import DatasetRef
from w2v2_ray.spec.job import TrainJob

_Key = tuple[tuple[DatasetRef, ...], str | None, int, float | None]
_KEPT: ContextVar[dict[_Key, DatasetMixture] | None] = ContextVar("kept_open", default=None)


@contextmanager
def kept_open() -> Iterator[None]:
    """Within the block, datasets are opened once, however often they are asked for."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def open_data(job: TrainJob, refs: tuple[DatasetRef, ...], verify: Verify = "none") -> DatasetMixture:
    """Open a job's datasets; what the driver has checked is not checked again."""
    kept = _KEPT.get()
    alpha = job.data.sampling_alpha if refs == job.data.train else None
    key = (refs, job.data.cache_dir, job.data.cache_bytes, alpha)
    if kept is not None and key in kept:
        return kept[key]
    mixture = open_mixture(
        [(ref.path, ref.repeat) for ref in refs],
        verify=verify,
        cache_dir=job.data.cache_dir,
        cache_bytes=job.data.cache_bytes,
        shares=None if any(ref.share is None for ref in refs) else [ref.share or 0.0 for ref in refs],
        sampling_alpha=alpha,
    )
    if kept is not None:
        kept[key] = mixture
    return mixture
