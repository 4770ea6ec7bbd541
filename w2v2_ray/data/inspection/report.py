"""What `inspect` says about a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.codec import digest_of
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.inspection.contents import ContentReport, content_report
from w2v2_ray.data.inspection.copies import DIGEST_BYTES, Digests
from w2v2_ray.data.inspection.histogram import Histogram, histogram_of
from w2v2_ray.data.inspection.levels import FIGURES, FigureArray, LevelReport, figures_of, level_report
from w2v2_ray.data.inspection.provenance import RejectsFor, read_record, read_rejects

_BIN_EDGES_S = (0, 1, 2, 3, 4, 5, 7.5, 10, 12.5, 15, 20, 25, 30, 60, 120)


@dataclass(frozen=True)
class LengthBin:
    """Utterances of one range of lengths.

    Args:
        from_s: Shortest.
        to_s: Below this; None for the last bin.
        utterances: How many.
        hours: Their audio.
    """

    from_s: float
    to_s: float | None
    utterances: int
    hours: float


@dataclass(frozen=True)
class DatasetReport:
    """A dataset in figures; the fields are those of `inspect --json`.

    `levels` and `contents` are None where no audio was read; `made` is what ingest.json says of settings and source.
    """

    path: str
    utterances: int
    hours: float
    speakers: int
    transcribed: int
    rejected: int
    codec: str
    sample_rate: int
    shards: int
    bytes: int
    fingerprint: str
    created_by: str
    checksums_verified: bool
    shortest_s: float
    p5_s: float
    median_s: float
    p95_s: float
    longest_s: float
    lengths: tuple[LengthBin, ...]
    odd: dict[str, int]
    levels: LevelReport | None
    contents: ContentReport | None
    rejects: tuple[RejectsFor, ...]
    made: dict[str, Any] | None
    length_histogram: Histogram


def dataset_report(dataset: SpeechDataset, *, checksums_verified: bool, levels: bool = False) -> DatasetReport:
    """Gather the figures of an opened dataset; reads its index, and its shards for levels and contents only.

    Args:
        dataset: The dataset.
        checksums_verified: Whether it was opened with `verify="checksums"`.
        levels: Whether to read all audio for its levels and contents.
    """
    totals = dataset.manifest.totals
    lengths_s = dataset.num_samples / SAMPLE_RATE
    read = _read_audio(dataset) if levels else None
    return DatasetReport(
        path=dataset.uri,
        utterances=len(dataset),
        hours=dataset.hours,
        speakers=totals.speakers,
        transcribed=totals.transcribed,
        rejected=totals.rejected,
        codec=dataset.manifest.codec,
        sample_rate=dataset.manifest.sample_rate,
        shards=len(dataset.manifest.shards),
        bytes=totals.audio_bytes,
        fingerprint=dataset.fingerprint,
        created_by=dataset.manifest.created_by,
        checksums_verified=checksums_verified,
        shortest_s=float(lengths_s.min()),
        p5_s=float(np.percentile(lengths_s, 5)),
        median_s=float(np.median(lengths_s)),
        p95_s=float(np.percentile(lengths_s, 95)),
        longest_s=float(lengths_s.max()),
        lengths=_histogram(lengths_s),
        odd=totals.odd,
        levels=level_report(read[0], dataset.num_samples) if read else None,
        contents=content_report(dataset, read[1]) if read else None,
        rejects=read_rejects(dataset.location),
        made=read_record(dataset.location),
        length_histogram=histogram_of(lengths_s),
    )


def _read_audio(dataset: SpeechDataset) -> tuple[FigureArray, Digests]:
    """What levels and contents need of the audio, in 64 bytes an utterance: it is read once for both."""
    figures = np.empty((len(dataset), FIGURES))
    digests = np.empty((len(dataset), DIGEST_BYTES), np.uint8)
    for index in range(len(dataset)):
        samples = dataset.audio(index)
        figures[index] = figures_of(samples)
        digests[index] = np.frombuffer(digest_of(samples), np.uint8)
    return figures, digests


def _histogram(lengths_s: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[LengthBin, ...]:
    """Bins from the one of the shortest to the one of the longest utterance."""
    edges = np.array(_BIN_EDGES_S)
    bins = np.digitize(lengths_s, edges) - 1
    counts = np.bincount(bins, minlength=len(edges))
    hours = np.bincount(bins, weights=lengths_s, minlength=len(edges)) / 3600
    return tuple(
        LengthBin(
            from_s=float(edges[index]),
            to_s=float(edges[index + 1]) if index + 1 < len(edges) else None,
            utterances=int(counts[index]),
            hours=float(hours[index]),
        )
        for index in range(int(bins.min()), int(bins.max()) + 1)
    )
