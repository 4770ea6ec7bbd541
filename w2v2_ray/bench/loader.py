"""Hours of audio a second as ready micro-batches: shards against one file an utterance."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.bench.audio_files import audio_paths, cpu_seconds, forget_pages, touch_pages
from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.loader import CropLoader, Prefetcher
from w2v2_ray.data.random_streams import RandomStreams

_PREFETCH = 4


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Deliver micro-batches until a time is over; of files that are not in memory, those of one epoch.

    Args:
        settings: `reader` ("shards" or "files"), `dataset`, `files` (folders), `cold`, `workers`, `min_s`,
            `max_tokens`.

    Returns:
        hours_per_s delivered, hours_per_cpu_s, hours delivered. The clock starts with the first micro-batch where pages
        are warm: until then worker processes start, which a run does once. Processor time is that of everything.
    """
    dataset = SpeechDataset.open(settings["dataset"])
    plan = _plan(dataset, int(settings["max_tokens"]))
    cold = bool(settings["cold"])
    folder = Path(settings["dataset"] if settings["reader"] == "shards" else settings["files"])
    (forget_pages if cold else touch_pages)(audio_paths(folder))
    workers = int(settings["workers"])
    epoch = range(plan.sub_batches_per_epoch)
    numbers = iter(epoch) if cold else itertools.cycle(epoch)
    cpu_started, started = cpu_seconds(), time.perf_counter()
    if settings["reader"] == "shards":
        batches = _from_shards(dataset, plan, numbers, workers)
    else:
        batches = _from_files(dataset, plan, numbers, Path(settings["files"]), workers)
    first = 0
    if not cold:
        first = next(batches).numel()
        started = time.perf_counter()
    samples = 0
    for waveform in batches:
        samples += waveform.numel()
        if not cold and time.perf_counter() - started >= float(settings["min_s"]):
            break
    elapsed_s = time.perf_counter() - started
    batches.close()  # ends the workers: only then is their processor time known
    return {
        "hours_per_s": samples / SAMPLE_RATE / 3600 / elapsed_s,
        "hours_per_cpu_s": (first + samples) / SAMPLE_RATE / 3600 / max(cpu_seconds() - cpu_started, 1e-9),
        "hours": samples / SAMPLE_RATE / 3600,
    }


def _plan(dataset: SpeechDataset, max_tokens: int) -> BatchPlan:
    return BatchPlan(
        dataset.num_samples,
        max_tokens=max_tokens,
        size_multiple=8,
        concat=1,
        min_samples=16_000,
        max_samples=250_000,
        streams=RandomStreams(1),
    )


def _from_shards(
    dataset: SpeechDataset, plan: BatchPlan, numbers: Iterator[int], workers: int
) -> Generator[Tensor, None, None]:
    loader = CropLoader(dataset, plan, RandomStreams(1))
    batches = Prefetcher(loader.load, numbers, depth=_PREFETCH, threads=workers)
    try:
        for batch in batches:
            yield torch.from_numpy(batch.waveform)
    finally:
        batches.close()


class _Files(torch.utils.data.Dataset[np.ndarray[Any, Any]]):
    """One file an utterance, decoded whole, as the reference's dataset does."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = [str(path) for path in paths]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray[Any, Any]:
        waveform: np.ndarray[Any, Any] = soundfile.read(self._paths[index], dtype="float32")[0]
        return waveform


def _from_files(
    dataset: SpeechDataset, plan: BatchPlan, numbers: Iterator[int], files: Path, workers: int
) -> Generator[Tensor, None, None]:
    paths = {path.relative_to(files).with_suffix(""): path for path in audio_paths(files)}
    # The dataset's order, so that both readers make the same batches.
    ordered = _Files([paths[Path(dataset.source(index)).with_suffix("")] for index in range(len(dataset))])
    batches = (np.concatenate(plan.micro_batch(number).utterances).tolist() for number in numbers)
    # One pass over a sampler that need not end: workers start once, not with every epoch.
    yield from torch.utils.data.DataLoader(
        ordered, batch_sampler=batches, num_workers=workers, collate_fn=_crop_to_shortest
    )


def _crop_to_shortest(waveforms: list[np.ndarray[Any, Any]]) -> Tensor:
    shortest = min(250_000, *(len(waveform) for waveform in waveforms))
    rng = np.random.default_rng(len(waveforms))
    starts = [int(rng.integers(0, len(waveform) - shortest + 1)) for waveform in waveforms]
    cropped = [waveform[start : start + shortest] for waveform, start in zip(waveforms, starts, strict=True)]
    return torch.from_numpy(np.stack(cropped))
