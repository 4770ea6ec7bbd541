"""Units: the clusters that frames of a layer fall into (HuBERT, Hsu et al. 2021, section 3.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2v2_ray.data.listening.pieces import Failure
from w2v2_ray.errors import CheckpointError, DatasetError, SpecError
from w2v2_ray.extraction.extract import Features
from w2v2_ray.places.new_files import new_file

_BLOCK = 8192


@dataclass(frozen=True)
class Units:
    """Centres of clusters.

    Attributes:
        centres: [K, D].
    """

    centres: NDArray[np.float32]

    @property
    def identity(self) -> str:
        """A name that other centres do not have."""
        return hashlib.sha256(np.ascontiguousarray(self.centres).tobytes()).hexdigest()[:16]

    def nearest(self, frames: NDArray[np.float32]) -> NDArray[np.int64]:
        """The cluster of each frame: the nearest centre.

        Shape: [T, D] -> [T].

        Raises:
            SpecError: When the frames are of another width: of another model, or layer.
        """
        if frames.shape[1] != self.centres.shape[1]:
            raise SpecError(
                f"units of {self.centres.shape[1]} numbers a frame, but the layer gives {frames.shape[1]}; they were "
                "fitted to another model"
            )
        square = np.square(self.centres).sum(1)
        parts = [
            (square - 2.0 * (frames[start : start + _BLOCK] @ self.centres.T)).argmin(1)
            for start in range(0, len(frames), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write the centres.

        Raises:
            StorageError: When they cannot be written.
        """
        with new_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, self.centres, allow_pickle=False)

    @classmethod
    def load(cls, path: Path) -> Units:
        """Read centres.

        Raises:
            CheckpointError: When the file holds none.
        """
        try:
            centres = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise CheckpointError(f"{path}: holds no units ({error}); give what `--fit-units` wrote") from error
        if not isinstance(centres, np.ndarray) or centres.ndim != 2 or centres.dtype != np.float32 or not len(centres):
            raise CheckpointError(f"{path}: holds no units, which are float32 [K, D]; give what `--fit-units` wrote")
        return cls(centres)


def fit_units(features: Iterable[Features | Failure], clusters: int, *, sample_frames: int, seed: int = 0) -> Units:
    """Fit clusters to a sample of frames.

    Args:
        features: Of one layer; taken until the sample is full.
        clusters: K.
        sample_frames: Frames to fit to.
        seed: Of the fit.

    Raises:
        SpecError: When scikit-learn is missing.
        DatasetError: When there are fewer frames than clusters.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise SpecError("--fit-units needs scikit-learn: pip install 'w2v2-ray[units]'") from error
    sample = list(_frames(features, sample_frames))
    total = sum(len(frames) for frames in sample)
    if total < clusters:
        raise DatasetError(f"--fit-units {clusters}: more clusters than the {total} frames of the sources; give fewer")
    fit = MiniBatchKMeans(n_clusters=clusters, random_state=seed, n_init=5, batch_size=max(10_000, clusters))
    fit.fit(np.concatenate(sample))
    return Units(np.asarray(fit.cluster_centers_, dtype=np.float32))


def _frames(features: Iterable[Features | Failure], limit: int) -> Iterator[NDArray[np.float32]]:
    found = 0
    for result in features:
        if isinstance(result, Failure):
            continue
        [frames] = result.layers.values()
        found += len(frames)
        yield frames
        if found >= limit:
            return
