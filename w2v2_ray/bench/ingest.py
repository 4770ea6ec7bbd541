"""Audio hours a core-minute that `prepare` turns into a dataset, beside decoding alone and beside `datasets`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.bench.audio_files import audio_paths, cpu_seconds, prepare, touch_pages


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Ingest a folder in this process, or decode it and throw the samples away.

    Args:
        settings: `how` ("pcm16", "flac", "soundfile" or "datasets": Hugging Face's, to int16 in Arrow files), `files`
            (folder), `work` (folder for what is written).

    Returns:
        hours_per_core_minute (of processor time), hours_per_minute (of the clock), hours.
    """
    files = Path(settings["files"])
    paths = audio_paths(files)
    touch_pages(paths)
    how = settings["how"]
    if how == "datasets":
        # What it imports and compiles for its first file is paid once, not for every hour of audio.
        _datasets().Audio(sampling_rate=SAMPLE_RATE).decode_example({"path": str(paths[0]), "bytes": None})
    started, cpu_started = time.perf_counter(), cpu_seconds()
    with tempfile.TemporaryDirectory(dir=settings["work"]) as folder:
        if how == "soundfile":
            hours = _decode(paths)
        elif how == "datasets":
            hours = _with_datasets(paths, Path(folder))
        else:
            hours = prepare(files, Path(folder) / "dataset", how)
    return {
        "hours_per_core_minute": hours / (cpu_seconds() - cpu_started) * 60,
        "hours_per_minute": hours / (time.perf_counter() - started) * 60,
        "hours": hours,
    }


def _decode(paths: list[Path]) -> float:
    """Hours decoded and thrown away."""
    hours = 0.0
    for path in paths:
        samples, rate = soundfile.read(path, dtype="int16")
        hours += len(samples) / rate / 3600
    return hours


def _datasets() -> Any:
    """The peer, which need not be installed."""
    import datasets

    return datasets


def _with_datasets(paths: list[Path], folder: Path) -> float:
    """Hours that the peer decoded and stored."""
    datasets = _datasets()
    datasets.disable_progress_bars()
    files = datasets.Dataset.from_dict({"audio": [str(path) for path in paths]})
    files = files.cast_column("audio", datasets.Audio(sampling_rate=SAMPLE_RATE))

    def decoded(row: dict[str, Any]) -> dict[str, Any]:
        samples = np.round(np.asarray(row["audio"]["array"]) * 32767.0).astype(np.int16)
        return {"samples": samples, "num_samples": len(samples)}

    features = datasets.Features(
        {"samples": datasets.Sequence(datasets.Value("int16")), "num_samples": datasets.Value("int64")}
    )
    stored = files.map(decoded, features=features, remove_columns=["audio"], cache_file_name=str(folder / "map.arrow"))
    stored.save_to_disk(str(folder / "dataset"))
    return float(sum(stored["num_samples"])) / SAMPLE_RATE / 3600
