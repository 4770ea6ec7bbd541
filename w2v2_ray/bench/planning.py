"""Planning at scale: the batch plan of millions of utterances, and opening the index of such a dataset."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.index import DatasetIndex, Int32Array
from w2v2_ray.data.integrity import check_index
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.data.schema import (
    INDEX_NAME,
    MANIFEST_NAME,
    SCHEMA_VERSION,
    DatasetManifest,
    DatasetTotals,
    FileEntry,
    ShardEntry,
    fingerprint_of,
)
from w2v2_ray.places.storage import locate
from w2v2_ray.resident_memory import peak_rss_bytes, reset_peak

_SHARD_SAMPLES = 64 * 2**20
"""Of a shard of 128 MiB of pcm16."""
_MORE_MICRO_BATCHES = 100


def measure_plan(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plan in this process.

    Args:
        settings: `utterances`, `max_tokens`.

    Returns:
        construct_s, first_s (the first micro-batch), epoch_s (the first of the next epoch), more_s (100 micro-batches
        in a row), total_s of construction and first micro-batch, hours, micro_batches of an epoch, peak_rss_bytes of
        all this, imports and lengths included.
    """
    lengths = _lengths(int(settings["utterances"]))
    reset_peak()
    started = time.perf_counter()
    plan = BatchPlan(
        lengths,
        max_tokens=int(settings["max_tokens"]),
        size_multiple=8,
        concat=1,
        min_samples=2 * SAMPLE_RATE,
        max_samples=250_000,
        streams=RandomStreams(1),
    )
    constructed = time.perf_counter()
    plan.micro_batch(0)
    first = time.perf_counter()
    more = min(_MORE_MICRO_BATCHES, plan.sub_batches_per_epoch - 1)
    for number in range(1, 1 + more):
        plan.micro_batch(number)
    continued = time.perf_counter()
    plan.micro_batch(plan.sub_batches_per_epoch)
    return {
        "construct_s": constructed - started,
        "first_s": first - constructed,
        "more_s": continued - first,
        "epoch_s": time.perf_counter() - continued,
        "total_s": first - started,
        "hours": float(lengths.sum(dtype=np.int64)) / SAMPLE_RATE / 3600,
        "micro_batches": plan.sub_batches_per_epoch,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def measure_opening(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Open a dataset that is all there but for its audio.

    Args:
        settings: `utterances`, `work` (folder).

    Returns:
        open_s (as workers open it: manifest and index, checked by the driver before), check_s (what the driver checks
        of the index besides), shards, index_bytes, hours, peak_rss_bytes of
        both, with what writing the dataset had left in the process.
    """
    with tempfile.TemporaryDirectory(dir=settings["work"]) as folder:
        size, hours = _write_dataset(Path(folder), _lengths(int(settings["utterances"])))
        reset_peak()
        started = time.perf_counter()
        dataset = SpeechDataset.open(folder, verify="none")
        opened = time.perf_counter()
        check_index(locate(folder), dataset.manifest, dataset.index)
        return {
            "open_s": opened - started,
            "check_s": time.perf_counter() - opened,
            "shards": len(dataset.manifest.shards),
            "index_bytes": size,
            "hours": hours,
            "peak_rss_bytes": peak_rss_bytes(),
        }


def _lengths(utterances: int) -> Int32Array:
    """1 to 30 s, 14.3 s in the mean; in samples."""
    seconds = np.random.default_rng(1).normal(14.3, 6.0, utterances).clip(1.0, 30.0)
    lengths: Int32Array = (seconds * SAMPLE_RATE).astype(np.int32)
    return lengths


def _write_dataset(folder: Path, lengths: Int32Array) -> tuple[int, float]:
    """Write index and manifest; returns the index's size and the hours."""
    shards = max(1, round(int(lengths.sum(dtype=np.int64)) / _SHARD_SAMPLES))
    parts = np.array_split(lengths, shards)
    index = DatasetIndex.from_shards(parts).to_bytes()
    (folder / INDEX_NAME).write_bytes(index)
    entries = tuple(_entry(number, part) for number, part in enumerate(parts))
    samples = int(lengths.sum(dtype=np.int64))
    manifest = DatasetManifest(
        schema_version=SCHEMA_VERSION,
        sample_rate=SAMPLE_RATE,
        codec="pcm16",
        fingerprint=fingerprint_of("pcm16", entries),
        totals=DatasetTotals(
            utterances=len(lengths), samples=samples, audio_bytes=2 * samples, speakers=0, transcribed=0, rejected=0
        ),
        index=FileEntry(file=INDEX_NAME, bytes=index.size, sha256=hashlib.sha256(index).hexdigest()),
        shards=entries,
        created_by="w2v2-ray bench",
    )
    (folder / MANIFEST_NAME).write_bytes(manifest.to_json())
    return index.size, samples / SAMPLE_RATE / 3600


def _entry(number: int, lengths: Int32Array) -> ShardEntry:
    samples = int(lengths.sum(dtype=np.int64))
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return ShardEntry(
        file=f"shard-{number:05d}.arrow", rows=len(lengths), samples=samples, bytes=2 * samples, sha256=digest
    )
