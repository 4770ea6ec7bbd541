"""Small audio, made on the fly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

WriteAudio = Callable[..., Path]


@pytest.fixture
def write_audio(tmp_path: Path) -> WriteAudio:
    def write(
        name: str, duration_s: float = 0.5, *, rate: int = 16000, channels: int = 1, seed: int = 0, **how
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (round(duration_s * rate), channels)
        samples = np.random.default_rng(seed).normal(0, 3000, shape).astype(np.int16)
        soundfile.write(path, samples, rate, **how)
        return path

    return write
