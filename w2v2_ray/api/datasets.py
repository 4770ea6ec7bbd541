"""Datasets from Python: make one of audio, open one, go through it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from w2v2_ray.data.cache import DEFAULT_CACHE_BYTES
from w2v2_ray.data.corpora.keys import USUAL_KEYS, ChosenKeys
from w2v2_ray.data.dataset import SpeechDataset, Verify
from w2v2_ray.data.hold_out import Division
from w2v2_ray.data.ingest_plan import IngestSettings
from w2v2_ray.data.sources import SourceFormat, SourceListing
from w2v2_ray.orchestration.ingest import HoldOut, IngestProgress, IngestSummary, prepare_dataset


def prepare(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    source_format: SourceFormat | None = None,
    settings: IngestSettings | None = None,
    jobs: int = 1,
    max_rejects: float = 0.01,
    keys: ChosenKeys = USUAL_KEYS,
    hold_out: HoldOut | None = None,
    progress: IngestProgress | None = None,
    announce: Callable[[SourceListing, Division | None], None] | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> IngestSummary:
    """Turn audio into a dataset of memory-mapped shards: 16 kHz, mono, checksummed.

    Killed at any time, the same call goes on with what is not finished. The bytes do not depend on `jobs`.

    Args:
        source: A folder of audio, a LibriSpeech tree, a table or manifest, an audio file.
        out: Folder or URI of the dataset.
        source_format: None guesses it.
        settings: Codec, limits of length and signal, shard size.
        jobs: 1 works in this process without Ray; more are that many Ray tasks at a time.
        max_rejects: Fraction of files that may be rejected before this fails.
        keys: Columns of a manifest or table that are to be taken instead of the usual ones.
        hold_out: The part to make a second dataset of.
        progress: Told how far it is.
        announce: Told what was listed, before anything is decoded.
        notify: Told what is waited for, when no node of a cluster has room.

    Raises:
        DatasetError: The source is malformed or empty, `out` holds something else, or too many files were rejected.
        StorageError: A place cannot be read or written.
    """
    return prepare_dataset(
        _place(source),
        _place(out),
        source_format=source_format,
        settings=settings,
        jobs=jobs,
        max_rejects=max_rejects,
        progress=progress,
        keys=keys,
        hold_out=hold_out,
        announce=announce,
        notify=notify,
    )


def open_dataset(
    path: str | os.PathLike[str],
    *,
    verify: Verify = "sizes",
    cache_dir: str | os.PathLike[str] | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
) -> SpeechDataset:
    """Open a dataset: a sequence of `Utterance`, each with id, samples, transcript and speaker.

    Args:
        path: Its folder or URI.
        verify: "none", "sizes" (every file is there with its size) or "checksums" (every byte is read).
        cache_dir: Node-local folder for remote shards.
        cache_bytes: Upper bound of that folder.

    Raises:
        DatasetError: It is missing, unfinished, or a file of it is missing, truncated or altered.
        StorageError: The place cannot be read.
    """
    return SpeechDataset.open(_place(path), verify, cache_dir, cache_bytes)


def _place(path: str | os.PathLike[str]) -> str | Path:
    return str(path) if "://" in str(path) else Path(path)
