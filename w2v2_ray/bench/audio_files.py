"""The audio that data benchmarks read: copies of a corpus, as files and as datasets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from w2v2_ray.data.ingest import finalise, finished_dataset, ingest_folder, write_shard
from w2v2_ray.data.ingest_plan import IngestSettings, ingest_key, plan_shards
from w2v2_ray.data.schema import Codec
from w2v2_ray.data.sources import guess_format, list_items
from w2v2_ray.data.storage import locate


def copy_files(source: Path, folder: Path, copies: int) -> None:
    """Copy the audio files of a source `copies` times; what is there already is kept.

    Real copies rather than links, so that none is in the page cache on another's behalf.
    """
    items = list_items(source, guess_format(source))
    for copy in range(copies):
        into = folder / f"copy-{copy:03d}"
        into.mkdir(parents=True, exist_ok=True)
        for number, item in enumerate(items):
            original = Path(item.path)
            target = into / f"{number:06d}{original.suffix}"
            if not target.exists():
                shutil.copyfile(original, target)


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
    return float(times.user + times.system + times.children_user + times.children_system)
