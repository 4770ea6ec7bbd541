"""From a batch plan to audio: crops read from the shards, made ready ahead of the training step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from w2v2_ray.data.batch_plan import BatchPlan, MicroBatchPlan
from w2v2_ray.data.buffers import BufferPool
from w2v2_ray.data.dataset import Integers
from w2v2_ray.data.random_streams import Purpose, RandomStreams


class AudioSource(Protocol):
    """What the loader needs of a dataset."""

    @property
    def num_samples(self) -> npt.NDArray[np.int32]:
        """Length of every utterance."""
        ...

    def crops(self, indices: Integers, starts: Integers, num_samples: Integers) -> list[npt.NDArray[np.int16]]:
        """Samples [start, start + num_samples) of each utterance."""
        ...


@dataclass(frozen=True)
class CroppedMicroBatch:
    """The audio of one micro-batch.

    Attributes:
        plan: What it consists of.
        waveform: int16 PCM; scaling to floats is left to the device, which does it faster. Shape: [B, S].
    """

    plan: MicroBatchPlan
    waveform: npt.NDArray[np.int16]


class CropLoader:
    """Reads the micro-batches of a plan, each utterance cropped at its stream's random place."""

    def __init__(self, source: AudioSource, plan: BatchPlan, streams: RandomStreams) -> None:
        self._source = source
        self._plan = plan
        self._streams = streams
        self._buffers = BufferPool()

    def load(self, index: int) -> CroppedMicroBatch:
        """Read micro-batch number `index` of the stream. Safe to call from several threads."""
        plan = self._plan.micro_batch(index)
        utterances = np.concatenate(plan.utterances)
        slack = self._source.num_samples[utterances].astype(np.int64) - plan.crop_samples
        starts = self._streams.generator(Purpose.CROP, index).integers(0, slack + 1)
        waveform = self._buffers.empty(len(utterances), plan.crop_samples)
        crops = self._source.crops(utterances, starts, np.full_like(starts, plan.crop_samples))
        # One call copies all rows: a loop in Python would hold up the other threads at every row.
        np.concatenate(crops, out=waveform.reshape(-1))
        return CroppedMicroBatch(plan=plan, waveform=waveform)


@dataclass(frozen=True)
class PaddedMicroBatch:
    """The audio of one micro-batch of whole utterances.

    Attributes:
        plan: What it consists of.
        waveform: int16 PCM, zeros after the end. Shape: [B, S].
        lengths: Samples of each utterance. Shape: [B].
    """

    plan: MicroBatchPlan
    waveform: npt.NDArray[np.int16]
    lengths: npt.NDArray[np.int64]


class PaddedLoader:
    """Reads the micro-batches of a plan whole, padded to the longest utterance."""

    def __init__(self, source: AudioSource, plan: BatchPlan) -> None:
        self._source = source
        self._plan = plan

    def load(self, index: int) -> PaddedMicroBatch:
        """Read micro-batch number `index` of the stream. Safe to call from several threads."""
        plan = self._plan.micro_batch(index)
        utterances = np.concatenate(plan.utterances)
        lengths = self._source.num_samples[utterances].astype(np.int64)
        return padded_rows(plan, self._source.crops(utterances, np.zeros_like(lengths), lengths))


def padded_rows(plan: MicroBatchPlan, rows: Sequence[npt.NDArray[np.int16]]) -> PaddedMicroBatch:
    """Pad the utterances of a micro-batch to the longest of them."""
    lengths = np.asarray([len(row) for row in rows], dtype=np.int64)
    waveform = np.zeros((len(rows), int(lengths.max())), dtype=np.int16)
    for row, samples in zip(waveform, rows, strict=True):
        row[: len(samples)] = samples
    return PaddedMicroBatch(plan=plan, waveform=waveform, lengths=lengths)


T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Makes items ahead of their use on background threads, in order, and counts the time spent waiting for them.

    Args:
        make: Makes one item; errors it raises surface at the item's turn.
        indices: What to make; may be endless.
        depth: Items ready or in the making at most.
        threads: Background threads. Shard reads and FLAC decoding release the interpreter lock.
    """

    def __init__(self, make: Callable[[int], T], indices: Iterable[int], *, depth: int, threads: int = 1) -> None:
        self._make = make
        self._indices = iter(indices)
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="w2v2-ray-loader")
        self._queue: deque[Future[T]] = deque()
        self._depth = max(depth, 1)
        self.wait_s = 0.0
        self._fill()

    def _fill(self) -> None:
        while len(self._queue) < self._depth:
            index = next(self._indices, None)
            if index is None:
                return
            self._queue.append(self._pool.submit(self._make, index))

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self._queue:
            raise StopIteration
        started = time.perf_counter()
        item = self._queue.popleft().result()
        self.wait_s += time.perf_counter() - started
        self._fill()
        return item

    def close(self) -> None:
        """Stop making items and release the threads."""
        for future in self._queue:
            future.cancel()
        self._queue.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)
