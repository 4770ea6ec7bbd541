"""What a path in a spec means on a cluster, where an entry point starts in a temporary copy of the upload."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from w2v2_ray.spec.job import Job, TrainJob

ROOT_VARIABLE = "W2V2_RAY_ROOT"
"""Environment variable that names the folder which every node sees: relative paths mean it."""


def relative_paths(job: Job) -> dict[str, str]:
    """Paths of a job that would land in the temporary copy, by field. URIs and absolute paths are whole."""
    found = job.paths() if isinstance(job, TrainJob) else {"storage_path": getattr(job, "storage_path", None)}
    return {field: path for field, path in found.items() if path is not None and not _whole(path)}


def _whole(path: str) -> bool:
    return "://" in path or path.startswith(("/", "~"))


def uploaded_files(document: Any, folder: Path) -> Iterator[tuple[str, str]]:
    """Values of a spec that name a file of the upload, as (dotted path, absolute path).

    A sweep names its base job, a fine-tuning job perhaps a vocabulary: they came along with it.

    Args:
        document: The spec as plain values.
        folder: Where the upload lies.
    """
    if not isinstance(document, dict):
        return
    for key, value in document.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{path}", file) for path, file in uploaded_files(value, folder))
        elif isinstance(value, str) and not _whole(value) and "\0" not in value and (folder / value).is_file():
            yield str(key), os.path.abspath(folder / value)
