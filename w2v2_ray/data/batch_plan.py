"""The batch plan: which utterances make up micro-batch number m, for ever, whoever asks.

The plan is a pure function of the utterance lengths, the batch spec and the seed. Each epoch sorts the utterances by
length (ties shuffled anew), cuts them into sub-batches, groups neighbours into micro-batches and shuffles those. The
stream of sub-batches runs on across epoch boundaries without dropping or repeating anything.

Source: reference section 4 (`batch_by_size`, `num_concat_batches`), fairseq `data_utils.batch_by_size`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.errors import DatasetError

IntArray = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]


def batch_by_size(
    sizes: npt.NDArray[np.integer], max_tokens: int, size_multiple: int, max_utterances: int | None = None
) -> IntArray:
    """Cut a sequence of utterances into sub-batches so that longest x count stays within `max_tokens`.

    A sub-batch is cut back to a multiple of `size_multiple` where it has that many, the last one too; what is cut
    off opens the next one. (fairseq `batch_by_size`; golden/recipe.json.)

    Args:
        sizes: Samples per utterance, in the order in which they are to be cut. Shape: [utterances].
        max_tokens: Samples a sub-batch may have once padded or cropped to one length.
        size_multiple: Utterances in a sub-batch are a multiple of this where possible.
        max_utterances: Utterances in a sub-batch at most (fairseq's `batch_size`).

    Returns:
        Offsets of the sub-batches into the sequence. Shape: [sub-batches + 1].

    Raises:
        DatasetError: When a single utterance exceeds `max_tokens`.
    """
    if len(sizes) and int(sizes.max()) > max_tokens:
        at = int(sizes.argmax())
        raise DatasetError(
            f"utterance number {at} has {int(sizes[at])} samples, above max_tokens: {max_tokens}; "
            "raise batch.max_tokens or lower batch.max_samples"
        )
    if len(sizes) < 2 or bool(np.all(sizes[1:] <= sizes[:-1])):
        return _cut_descending(sizes, max_tokens, size_multiple, max_utterances)
    offsets = [0]
    start, longest, i = 0, 0, 0
    while i < len(sizes):
        count, grown = i - start, max(longest, int(sizes[i]))
        if count and (grown * (count + 1) > max_tokens or count == max_utterances):
            start += _whole_multiple(count, size_multiple)
            offsets.append(start)
            longest = int(sizes[start:i].max()) if start < i else 0
        else:
            longest = grown
            i += 1
    while start < len(sizes):
        start += _whole_multiple(len(sizes) - start, size_multiple)
        offsets.append(start)
    return np.asarray(offsets, dtype=np.int64)


def _whole_multiple(count: int, size_multiple: int) -> int:
    return max(size_multiple * (count // size_multiple), count % size_multiple)


def _cut_descending(
    sizes: npt.NDArray[np.integer], max_tokens: int, size_multiple: int, max_utterances: int | None
) -> IntArray:
    """The same cut in one step a sub-batch: when lengths fall, the first utterance decides how many fit."""
    offsets = [0]
    start, total = 0, len(sizes)
    while start < total:
        fits = min(max_tokens // max(int(sizes[start]), 1), max_utterances or total)
        start += _whole_multiple(min(fits, total - start), size_multiple)
        offsets.append(start)
    return np.asarray(offsets, dtype=np.int64)


@dataclass(frozen=True)
class MicroBatchPlan:
    """What one micro-batch consists of.

    Attributes:
        index: Position m in the endless stream of micro-batches.
        utterances: Indices into the dataset, one array a sub-batch. Shapes: [b_i].
        epochs: Epoch of each sub-batch; they differ only in a micro-batch that spans an epoch boundary.
        crop_samples: Length S to which every utterance is cropped, where they are cropped: that of the shortest.
        padded_samples: Length S to which every utterance is padded, where they are padded: that of the longest.
    """

    index: int
    utterances: tuple[Int32Array, ...]
    epochs: tuple[int, ...]
    crop_samples: int
    padded_samples: int

    @property
    def sub_batch_sizes(self) -> tuple[int, ...]:
        """Utterances per sub-batch."""
        return tuple(len(part) for part in self.utterances)


class BatchPlan:
    """The endless stream of micro-batches over one dataset (or mixture).

    Args:
        num_samples: Length of every utterance. Shape: [utterances].
        max_tokens: See `batch_by_size`.
        size_multiple: See `batch_by_size`.
        concat: Sub-batches per micro-batch.
        min_samples: Shorter utterances are left out.
        max_samples: Longer utterances count, and are cropped, as this long.
        streams: The run's random streams.
        shuffle: False keeps ties and micro-batches in order (validation).
        usable: False for utterances to leave out whatever their length. Shape: [utterances].
        curriculum_epochs: First epochs whose micro-batches come shortest first.
        max_utterances: See `batch_by_size`.

    Raises:
        DatasetError: When no utterance is long enough.
    """

    def __init__(
        self,
        num_samples: npt.NDArray[np.integer],
        *,
        max_tokens: int,
        size_multiple: int,
        concat: int,
        min_samples: int,
        max_samples: int,
        streams: RandomStreams,
        shuffle: bool = True,
        usable: npt.NDArray[np.bool_] | None = None,
        curriculum_epochs: int = 0,
        max_utterances: int | None = None,
    ) -> None:
        lengths = np.asarray(num_samples)
        kept = lengths >= min_samples
        self._kept = np.flatnonzero(kept if usable is None else kept & usable).astype(np.int32)
        if not len(self._kept):
            raise _none_long_enough(lengths, min_samples)
        self._lengths = np.minimum(lengths[self._kept], max_samples).astype(np.int32)
        self.dropped_short = len(lengths) - len(self._kept)
        self.cropped_long = int(np.count_nonzero(lengths > max_samples))
        self.concat = concat
        self._streams = streams
        self._shuffle = shuffle
        self._curriculum_epochs = curriculum_epochs
        descending = np.sort(self._lengths)[::-1]
        # Ties have equal lengths, so the cut is the same in every epoch: only who fills it changes.
        self._offsets = batch_by_size(descending, max_tokens, size_multiple, max_utterances)
        self._shortest = descending[self._offsets[1:] - 1]
        self._longest = descending[self._offsets[:-1]]
        self._epoch_order = lru_cache(maxsize=2)(self._sort_epoch)
        self._epoch_sequence = lru_cache(maxsize=2)(self._sequence_epoch)

    @property
    def utterances_per_epoch(self) -> int:
        """Utterances that are long enough; each is used exactly once per epoch."""
        return len(self._kept)

    @property
    def sub_batches_per_epoch(self) -> int:
        """Sub-batches per epoch, the same in every epoch."""
        return len(self._offsets) - 1

    def sub_batch_shapes(self) -> tuple[IntArray, Int32Array]:
        """Utterances and cropped length of every sub-batch of an epoch, longest first (for planning)."""
        return np.diff(self._offsets), self._shortest

    def padded_shapes(self) -> tuple[IntArray, Int32Array]:
        """Utterances and padded length of every sub-batch of an epoch, longest first (for planning)."""
        return np.diff(self._offsets), self._longest

    def micro_batch(self, index: int) -> MicroBatchPlan:
        """Micro-batch number `index` of the stream, from 0."""
        per_epoch = self.sub_batches_per_epoch
        parts: list[Int32Array] = []
        epochs: list[int] = []
        crop, padded = np.iinfo(np.int32).max, 0
        for position in range(index * self.concat, (index + 1) * self.concat):
            epoch, within = divmod(position, per_epoch)
            cut = int(self._epoch_sequence(epoch)[within])
            members = self._epoch_order(epoch)[self._offsets[cut] : self._offsets[cut + 1]]
            parts.append(self._kept[members])
            epochs.append(epoch)
            crop = min(crop, int(self._shortest[cut]))
            padded = max(padded, int(self._longest[cut]))
        return MicroBatchPlan(
            index=index, utterances=tuple(parts), epochs=tuple(epochs), crop_samples=crop, padded_samples=padded
        )

    def epoch_of(self, micro_batch: int) -> int:
        """Epoch in which a micro-batch begins."""
        return micro_batch * self.concat // self.sub_batches_per_epoch

    def _sort_epoch(self, epoch: int) -> Int32Array:
        """Positions of the kept utterances by falling length, ties in this epoch's order."""
        if not self._shuffle:
            return np.argsort(-self._lengths, kind="stable").astype(np.int32)
        ties = self._streams.generator(Purpose.TIES, epoch).permutation(len(self._lengths)).astype(np.int32)
        return ties[np.argsort(-self._lengths[ties], kind="stable")]

    def _sequence_epoch(self, epoch: int) -> Int32Array:
        """Order in which an epoch's sub-batches join the stream.

        Micro-batches group neighbours in length, because all sub-batches of one are cropped to the shortest. When
        `concat` does not divide the epoch, the sub-batches that complete the previous epoch's last micro-batch and
        open the next epoch's first are taken from the short end, where the lengths of two epochs agree.
        """
        count = self.sub_batches_per_epoch
        lead = min(-(epoch * count) % self.concat, count)
        tail = (count - lead) % self.concat
        sub_batches = np.arange(count, dtype=np.int32)
        body = count - lead - tail
        groups = sub_batches[:body].reshape(-1, self.concat)
        if epoch < self._curriculum_epochs:
            groups = groups[::-1]
        elif self._shuffle:
            groups = groups[self._streams.generator(Purpose.SHUFFLE, epoch).permutation(len(groups))]
        return np.concatenate([sub_batches[body : body + lead], groups.reshape(-1), sub_batches[body + lead :]])


def assigned(micro_batches_per_update: int, update: int, world_rank: int, world_size: int) -> range:
    """Micro-batches of an update that one worker runs: an even, contiguous share.

    Args:
        micro_batches_per_update: Micro-batches K of an update.
        update: Number of the update, from 1.
        world_rank: The worker.
        world_size: Workers alive; it need not divide K.
    """
    start = (update - 1) * micro_batches_per_update
    share, extra = divmod(micro_batches_per_update, world_size)
    first = start + world_rank * share + min(world_rank, extra)
    return range(first, first + share + (world_rank < extra))


def _none_long_enough(lengths: npt.NDArray[np.integer], min_samples: int) -> DatasetError:
    """The error for a dataset that is shorter all over, as corpora of single words are."""
    longest = int(lengths.max()) if len(lengths) else 0
    start = (
        f"none of the {len(lengths)} utterances has min_samples: {min_samples} samples (the longest has {longest}); "
    )
    if longest == 0 or longest >= min_samples:
        return DatasetError(f"{start}lower batch.min_samples or use longer audio")
    # Nine of ten are kept: the very shortest would crop the sub-batches that they are in.
    proposed = int(np.percentile(lengths, 10)) // 100 * 100 or 1
    kept = int(np.count_nonzero(lengths >= proposed))
    return DatasetError(
        f"{start}lower batch.min_samples or use longer audio: --set batch.min_samples={proposed} keeps {kept} of them"
    )
