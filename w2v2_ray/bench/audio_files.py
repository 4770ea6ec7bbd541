"""The audio that data benchmarks read: copies of a corpus, as files and as datasets."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import soundfile

from w2v2_ray.audio.reading import DurationLimits, Excerpt, load_speech
from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.fetching import local_files
from w2v2_ray.data.ingestion.ingest import finalise, finished_dataset, ingest_folder, write_shard
from w2v2_ray.data.ingestion.ingest_plan import IngestSettings, ingest_key, plan_shards
from w2v2_ray.data.ingestion.sources import guess_format, list_items
from w2v2_ray.data.schema import Codec
from w2v2_ray.errors import AudioError
from w2v2_ray.places.storage import locate
from w2v2_ray.synthesis.corpus import SynthesisSettings, synthesise_corpus


def copy_files(source: Path, folder: Path, copies: int, suffix: str) -> None:
    """Write the utterances of a source `copies` times, one file each, 16 kHz mono; what is there already is kept.

    Real copies rather than links, so that none is in the page cache on another's behalf.

    Args:
        source: Anything that `prepare` takes.
        folder: Where to.
        copies: How often.
        suffix: Of the files, and so their format: ".wav" or ".flac".

    Raises:
        DatasetError: The source is missing or holds no audio.
        AudioError: A file of it cannot be read.
    """
    items, limits = list_items(source, guess_format(source)), DurationLimits()
    for number, item in enumerate(items):
        targets = [folder / f"copy-{copy:03d}" / f"{number:06d}{suffix}" for copy in range(copies)]
        if all(target.exists() for target in targets):
            continue
        if item.problem is not None:
            raise AudioError(f"{item.path}: {item.problem}")
        with local_files([item]) as files, files.path(item) as path:
            samples = load_speech(path, limits, Excerpt(item.offset_s, item.duration_s, item.frames))
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}")
            soundfile.write(temporary, samples, SAMPLE_RATE, subtype="PCM_16", format=suffix[1:].upper())
            temporary.replace(target)


def synthesise(folder: Path, hours: float) -> Path:
    """Make speech to measure with where none is given; returns a source.

    Raises:
        MissingExtraError: espeak-ng is not installed.
    """
    synthesise_corpus(folder, SynthesisSettings(hours=hours, audio_format="wav"))
    return folder / "audio"


def prepare(files: Path, dataset: Path, codec: Codec) -> float:
    """Make a dataset of all files, in this process; returns its audio hours. One that is there is kept."""
    place = locate(dataset)
    tasks = plan_shards(list_items(files, "folder"), IngestSettings(codec=codec), place)
    manifest = finished_dataset(place, ingest_key(tasks))
    if manifest is None:
        with ingest_folder(place):
            manifest = finalise(tasks, [write_shard(task) for task in tasks], place, max_rejects=0.01)
    return manifest.totals.samples / manifest.sample_rate / 3600


def audio_paths(folder: Path) -> list[Path]:
    """All files, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def forget_pages(paths: Iterable[Path]) -> None:
    """Ask the system to drop files from its page cache, where it can be asked."""
    for path in paths:
        with suppress(OSError, AttributeError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def touch_pages(paths: Iterable[Path]) -> None:
    """Read files once, so that they are in the page cache."""
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    times: Any = os.times()
    return time.process_time() + float(times.children_user + times.children_system)
