"""Audio hours a core-minute that `prepare` turns into a dataset, beside decoding alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile

from w2v2_ray.bench.audio_files import audio_paths, cpu_seconds, prepare, touch_pages


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Ingest a folder in this process, or decode it and throw the samples away.

    Args:
        settings: `how` ("pcm16", "flac" or "soundfile"), `files` (folder).

    Returns:
        hours_per_core_minute (of processor time), hours_per_minute (of the clock), hours.
    """
    files = Path(settings["files"])
    paths = audio_paths(files)
    touch_pages(paths)
    started, cpu_started = time.perf_counter(), cpu_seconds()
    if settings["how"] == "soundfile":
        hours = 0.0
        for path in paths:
            samples, rate = soundfile.read(path, dtype="int16")
            hours += len(samples) / rate / 3600
    else:
        with tempfile.TemporaryDirectory(dir=settings["work"]) as folder:
            hours = prepare(files, Path(folder) / "dataset", settings["how"])
    return {
        "hours_per_core_minute": hours / (cpu_seconds() - cpu_started) * 60,
        "hours_per_minute": hours / (time.perf_counter() - started) * 60,
        "hours": hours,
    }
