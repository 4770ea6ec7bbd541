"""BEST-RQ pre-training (Chiu et al. 2022, arXiv 2202.01855). Experimental."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from w2v2_ray.spec.base import Finding, Int, PositiveInt, Spec
from w2v2_ray.spec.job import MaskedJob


class RandomProjectionSpec(Spec):
    """The quantizer that gives the targets: drawn once from the seed, never trained (section 3.1)."""

    entries: Int = Field(default=8192, ge=2)
    """Entries of the codebook (paper: 8192)."""
    dim: PositiveInt = 16
    """Dimension in which frames and entries are compared (paper: 16)."""
    mel_bins: Int = Field(default=80, ge=8, le=128)
    """Log-mel energies of a frame, which are projected (paper: 80)."""


class BestRqJob(MaskedJob):
    """Pre-training without negatives, codebook to learn or diversity loss: masked frames predict labels.

    Experimental. The network is the wav2vec 2.0 one of `model` (its `quantizer` and `final_dim` are not used), with
    masked frames replaced by a learned vector instead of noise on the input.
    """

    kind: Literal["best_rq"] = "best_rq"
    targets: RandomProjectionSpec = RandomProjectionSpec()
    """The random projection quantizer."""
    experimental: bool = False
    """Write true to say that you know: without it, the job is warned of."""

    @property
    def training_only(self) -> tuple[str, ...]:
        """The layer that predicts labels."""
        return ("prediction.",)

    def identity(self) -> dict[str, str]:
        """The network and the targets too."""
        return {"model": self.model.identity(), "targets": self.targets.model_dump_json(), **super().identity()}

    def advice(self) -> Iterator[Finding]:
        """Say that it is experimental."""
        yield from super().advice()
        if not self.experimental:
            yield Finding(
                "kind: best_rq is experimental: no published result was reproduced with it; write `experimental: true` "
                "to say that you know",
                ("kind",),
            )
