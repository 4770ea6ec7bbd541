"""Small audio and small datasets, made on the fly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
from w2v2_ray.orchestration.ingest import prepare_dataset

MakeDataset = Callable[..., SpeechDataset]


def noise(num_samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3000, num_samples).astype(np.int16)


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Prepare `utterances` files of growing length; the shards hold about three of them each."""

    def make(name: str = "dataset", utterances: int = 10, codec: str = "pcm16", seed: int = 0) -> SpeechDataset:
        source = tmp_path / f"{name}-source"
        for number in range(utterances):
            path = source / f"speaker{number % 3}" / f"{number:03d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, noise(8000 + 100 * number, seed + number), 16000)
            path.with_suffix(".txt").write_text(f"NUMBER {number}\n")
        out = tmp_path / name
        prepare_dataset(source, out, settings=IngestSettings(codec=codec, target_shard_bytes=48_000))
        return SpeechDataset.open(out)

    return make
