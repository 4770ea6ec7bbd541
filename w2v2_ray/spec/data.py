"""Which audio a job reads, and how the virtual world cuts it into sub-batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field, NonNegativeInt, field_validator

from w2v2_ray.spec.base import Finding, PositiveInt, Spec, largest_divisor


class DatasetRef(Spec):
    """One dataset made by `w2v2-ray prepare`."""

    path: str = Field(min_length=1, examples=["datasets/train"])
    """Folder or URI that holds `dataset.json`."""
    repeat: PositiveInt = 1
    """How often each of its utterances counts within an epoch."""
    share: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Its part of the seconds of an epoch, against the shares of the other datasets, as 0.7 to 0.3 or 7 to 3; the
    dataset that needs it least is heard once an epoch, the others as often as that takes."""


def _as_refs(value: Any) -> Any:
    """Accept `a/path`, `[a, b]` and the long form alike: most jobs train on one folder."""
    entries = [value] if isinstance(value, (str, dict)) else value
    if isinstance(entries, (list, tuple)):
        return [{"path": entry} if isinstance(entry, str) else entry for entry in entries]
    return entries


class DataSpec(Spec):
    """Datasets to train and validate on."""

    train: tuple[DatasetRef, ...] = Field(min_length=1, examples=["datasets/train"])
    """Training datasets, concatenated; a path alone is short for {path: ...}."""
    validation: tuple[DatasetRef, ...] = ()
    """Held-out datasets; empty means no validation."""
    sampling_alpha: float | None = Field(default=None, ge=0, le=1)
    """Shares of the training datasets, from their sizes: seconds to this power. 1 leaves them as they are, 0 makes all
    equal; XLSR takes 0.5 over languages (arXiv:2006.13979, section 3)."""
    cache_dir: str | None = None
    """Node-local folder for shards read from an object store; null means a folder under the system's temporary one."""
    cache_bytes: PositiveInt = 50 * 2**30
    """Upper bound of that cache."""
    prefetch_micro_batches: PositiveInt = 4
    """Micro-batches made ready ahead of the training step, per worker."""

    @field_validator("train", "validation", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return _as_refs(value)

    def broken_rules(self) -> Iterator[Finding]:
        """There is one way at a time to say how often a dataset is heard."""
        shared = [ref for ref in self.train if ref.share is not None]
        if shared and len(shared) < len(self.train):
            other = next(ref for ref in self.train if ref.share is None)
            yield Finding(f"train: {other.path} has no share, and others have; give every dataset one", ("train",))
        if shared and self.sampling_alpha is not None:
            yield Finding(
                "sampling_alpha makes the shares, and train gives shares: leave one of them out",
                ("sampling_alpha", "train"),
            )
        if any(ref.repeat > 1 for ref in self.train) and (shared or self.sampling_alpha is not None):
            yield Finding("train: repeat says how often, and shares do as well; leave out repeat", ("train",))
        if any(ref.share is not None for ref in self.validation):
            yield Finding("validation: share has no meaning there, each utterance is judged once", ("validation",))


class VirtualWorldSpec(Spec):
    """What an update is made of, whoever computes it (reference section 4)."""

    max_tokens: PositiveInt = 1_400_000
    """Samples in a sub-batch at most: longest utterance times count."""
    size_multiple: PositiveInt = 8
    """Utterances in a sub-batch are a multiple of this where possible."""
    max_utterances: PositiveInt | None = None
    """Utterances in a sub-batch at most, however short they are (fairseq's `batch_size`); null sets no limit. A full
    sub-batch of more than `size_multiple` is cut back to a multiple of it, as any other."""
    sub_batches_per_update: PositiveInt = 64
    """Sub-batches whose gradients make one update: workers x concat x accumulation of the reference."""
    concat: PositiveInt = 8
    """Consecutive sub-batches forwarded at once as one micro-batch. Larger uses a GPU better and needs more memory;
    masks, negatives and loss constants stay per sub-batch."""
    curriculum_epochs: NonNegativeInt = 0
    """First epochs in which micro-batches come in the order of their lengths, shortest first, as fairseq's
    `dataset.curriculum` and SortaGrad (arXiv:1512.02595, section 3.2) have it; shuffled from then on."""

    def broken_rules(self) -> Iterator[Finding]:
        """Micro-batches must divide an update."""
        if self.sub_batches_per_update % self.concat:
            below = largest_divisor(self.sub_batches_per_update, at_most=self.concat)
            yield Finding(
                f"concat: {self.concat} does not divide sub_batches_per_update: {self.sub_batches_per_update}; "
                f"use a divisor such as concat: {below}",
                ("concat", "sub_batches_per_update"),
            )

    @property
    def micro_batches_per_update(self) -> int:
        """Micro-batches of one update, over all workers."""
        return self.sub_batches_per_update // self.concat


class BatchSpec(VirtualWorldSpec):
    """The virtual world of pre-training: sub-batches cropped to their shortest utterance."""

    min_samples: PositiveInt = 32_000
    """Shorter utterances are left out of pre-training (reference: `min_sample_size`)."""
    max_samples: PositiveInt = 250_000
    """Longer utterances are cropped to this at a random place (reference: `max_sample_size`)."""

    def broken_rules(self) -> Iterator[Finding]:
        """Micro-batches must divide an update, and the longest utterance must fit a sub-batch."""
        yield from super().broken_rules()
        if self.min_samples > self.max_samples:
            yield Finding(
                f"min_samples: {self.min_samples} is above max_samples: {self.max_samples}; "
                "no utterance could be used: lower min_samples or raise max_samples",
                ("min_samples", "max_samples"),
            )
        if self.max_tokens < self.max_samples:
            yield Finding(
                f"max_tokens: {self.max_tokens} is below max_samples: {self.max_samples}; the longest utterance would "
                f"not fit any sub-batch: use max_tokens: {self.max_samples} or more",
                ("max_tokens", "max_samples"),
            )


class PaddedBatchSpec(VirtualWorldSpec):
    """The virtual world of fine-tuning: whole utterances, sub-batches padded to their longest."""

    max_tokens: PositiveInt = 3_200_000
    """Samples in a sub-batch at most, padding included: longest utterance times count."""
    sub_batches_per_update: PositiveInt = 8
    """Sub-batches whose gradients make one update: workers x concat x accumulation of the reference."""
    concat: PositiveInt = 1
    """Consecutive sub-batches forwarded at once as one micro-batch, padded to one length."""
    max_samples: PositiveInt = 640_000
    """Longer utterances are left out, with a count: a transcript cannot be cropped."""

    def broken_rules(self) -> Iterator[Finding]:
        """The longest utterance must fit a sub-batch."""
        yield from super().broken_rules()
        if self.max_tokens < self.max_samples:
            yield Finding(
                f"max_tokens: {self.max_tokens} is below max_samples: {self.max_samples}; the longest utterance would "
                f"not fit any sub-batch: use max_tokens: {self.max_samples} or more, or a lower max_samples",
                ("max_tokens", "max_samples"),
            )
