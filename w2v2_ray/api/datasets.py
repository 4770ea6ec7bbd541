"""Datasets from Python: make one of audio, open one, look at it, unpack it; by the names of the interface."""

from __future__ import annotations

import os
from pathlib import Path

from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.inspection.report import DatasetReport, dataset_report
from w2v2_ray.data.unpacking import unpack_dataset
from w2v2_ray.orchestration.ingest import prepare_dataset

prepare = prepare_dataset
open_dataset = SpeechDataset.open
unpack = unpack_dataset


def inspect(path: str, *, fast: bool = False, html: str | os.PathLike[str] | None = None) -> DatasetReport:
    """Check a dataset and gather what it holds, says and repeats.

    Args:
        path: Folder or URI.
        fast: Compare names and sizes only, and read no audio.
        html: Also write a page of it.

    Raises:
        DatasetError: The dataset is missing or damaged; the message names the file.
        StorageError: The page cannot be written; that is found before any audio is read.
    """
    if html is None:
        return _inspected(path, fast=fast)
    from w2v2_ray.places.new_files import new_file
    from w2v2_ray.reporting.dataset_page import render_dataset_page

    with new_file(Path(html)) as temporary:
        temporary.touch()  # reading may take hours: whether a file can be made here is to be known first
        report = _inspected(path, fast=fast)
        # A path may hold what is not Unicode.
        temporary.write_text(render_dataset_page(report), encoding="utf-8", errors="backslashreplace")
    return report


def _inspected(path: str, *, fast: bool) -> DatasetReport:
    dataset = SpeechDataset.open(path, verify="sizes" if fast else "checksums")
    return dataset_report(dataset, checksums_verified=not fast, levels=not fast)
