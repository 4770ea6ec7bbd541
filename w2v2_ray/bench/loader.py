"""Hours of audio a second as ready micro-batches: shards against one file an utterance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from w2v2_ray.bench.audio_files import audio_paths, cpu_seconds, forget_pages, touch_pages
from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.loader import CropLoader, Prefetcher
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.data.schema import SAMPLE_RATE

_PREFETCH = 4


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Deliver micro-batches of whole epochs until a time is over.

    Args:
        settings: `reader` ("shards" or "files"), `dataset`, `files` (folders), `cold`, `workers`, `min_s`,
            `max_tokens`.

    Returns:
        hours_per_s delivered, hours_per_cpu_s, hours delivered.
    """
    dataset = SpeechDataset.open(settings["dataset"])
    plan = _plan(dataset, int(settings["max_tokens"]))
    folder = Path(settings["dataset"] if settings["reader"] == "shards" else settings["files"])
    (forget_pages if settings["cold"] else touch_pages)(audio_paths(folder))
    workers = int(settings["workers"])
    make = _from_shards if settings["reader"] == "shards" else _from_files
    deliver = make(dataset, plan, Path(settings["files"]), workers)
    started, cpu_started, samples = time.perf_counter(), cpu_seconds(), 0
    while True:
        for waveform in deliver():
            samples += waveform.numel()
        elapsed_s = time.perf_counter() - started
        # A second epoch would find every page in memory.
        if settings["cold"] or elapsed_s >= float(settings["min_s"]):
            break
    hours = samples / SAMPLE_RATE / 3600
    return {
        "hours_per_s": hours / elapsed_s,
        "hours_per_cpu_s": hours / max(cpu_seconds() - cpu_started, 1e-9),
        "hours": hours,
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


def _from_shards(dataset: SpeechDataset, plan: BatchPlan, files: Path, workers: int) -> Callable[[], Iterator[Tensor]]:
    loader = CropLoader(dataset, plan, RandomStreams(1))

    def deliver() -> Iterator[Tensor]:
        batches = Prefetcher(loader.load, range(plan.sub_batches_per_epoch), depth=_PREFETCH, threads=workers)
        try:
            for batch in batches:
                yield torch.from_numpy(batch.waveform)
        finally:
            batches.close()

    return deliver


class _Files(torch.utils.data.Dataset[np.ndarray[Any, Any]]):
    """One file an utterance, decoded whole, as the reference's dataset does."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = [str(path) for path in paths]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray[Any, Any]:
        waveform: np.ndarray[Any, Any] = soundfile.read(self._paths[index], dtype="float32")[0]
        return waveform


def _from_files(dataset: SpeechDataset, plan: BatchPlan, files: Path, workers: int) -> Callable[[], Iterator[Tensor]]:
    paths = {str(path.relative_to(files)): path for path in audio_paths(files)}
    # The dataset's order, so that both readers make the same batches.
    ordered = _Files([paths[dataset.source(index)] for index in range(len(dataset))])
    batches = [
        np.concatenate(plan.micro_batch(number).utterances).tolist() for number in range(plan.sub_batches_per_epoch)
    ]

    def deliver() -> Iterator[Tensor]:
        yield from torch.utils.data.DataLoader(
            ordered, batch_sampler=batches, num_workers=workers, collate_fn=_crop_to_shortest
        )

    return deliver


def _crop_to_shortest(waveforms: list[np.ndarray[Any, Any]]) -> Tensor:
    shortest = min(250_000, *(len(waveform) for waveform in waveforms))
    rng = np.random.default_rng(len(waveforms))
    starts = [int(rng.integers(0, len(waveform) - shortest + 1)) for waveform in waveforms]
    cropped = [waveform[start : start + shortest] for waveform, start in zip(waveforms, starts, strict=True)]
    return torch.from_numpy(np.stack(cropped))
