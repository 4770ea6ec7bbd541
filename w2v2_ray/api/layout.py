"""LibriSpeech and Libri-light, once downloaded, as the datasets that the published job specs name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
from w2v2_ray.data.layout import FoundPart, find_parts, hours_differ
from w2v2_ray.data.piece_settings import PieceSettings
from w2v2_ray.data.published_parts import LIBRI_LIGHT_AUDIO
from w2v2_ray.data.segmentation.recordings import SegmentSettings
from w2v2_ray.errors import DatasetError
from w2v2_ray.orchestration.ingest import IngestSummary, prepare_dataset
from w2v2_ray.orchestration.shards import IngestProgress


@dataclass(frozen=True)
class LaidOut:
    """A part that became a dataset.

    Attributes:
        found: What it was made of.
        dataset: Its folder or URI.
        summary: What `prepare` said.
        differences: What is not as published, in words.
    """

    found: FoundPart
    dataset: str
    summary: IngestSummary
    differences: tuple[str, ...]


def check_parts(
    root: str | os.PathLike[str], parts: Sequence[str] = (), *, incomplete: bool = False
) -> tuple[FoundPart, ...]:
    """Find LibriSpeech's and Libri-light's parts below a folder and count their files.

    Args:
        root: Where the archives were unpacked.
        parts: Names of those wanted, such as `librispeech_train_clean_100`; all that are there when empty.
        incomplete: Also take parts with other counts than published.

    Raises:
        DatasetError: None is there, or one has other counts than published.
    """
    found = find_parts(Path(root), parts)
    short = [part for part in found if part.differences]
    if short and not incomplete:
        told = "; ".join(f"{part.path}: {', '.join(part.differences)}" for part in short)
        archives = ", ".join(dict.fromkeys(part.part.archive for part in short))
        raise DatasetError(f"{told}. Download and unpack again ({archives}), or use what is there with --incomplete")
    return found


def lay_out(
    found: Sequence[FoundPart],
    out: str,
    *,
    settings: IngestSettings | None = None,
    jobs: int = 1,
    progress: IngestProgress | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> Iterator[LaidOut]:
    """Make a dataset of each part, and compare its hours with the published ones; goes on where it was stopped.

    Chapters of Libri-light are cut by the voice activity in the JSON beside them, at their pauses where there is none.

    Args:
        found: As `check_parts` found them.
        out: Folder or URI below which the datasets are made.
        settings: As for `prepare`.
        jobs: As for `prepare`.
        progress: As for `prepare`.
        notify: As for `prepare`.

    Raises:
        DatasetError: As `prepare`.
    """
    for part in found:
        dataset = f"{out.rstrip('/')}/{part.part.name}"
        chapters = part.part.name in LIBRI_LIGHT_AUDIO
        summary = prepare_dataset(
            part.path,
            dataset,
            settings=settings,
            jobs=jobs,
            progress=progress,
            notify=notify,
            segment=SegmentSettings("energy", PieceSettings()) if chapters else None,
        )
        off = hours_differ(part.part, summary.hours)
        yield LaidOut(part, dataset, summary, (*part.differences, *([off] if off else [])))
