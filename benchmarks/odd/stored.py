"""Reads datasets by Arrow alone: none of the program's own readers has a say in what it stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True)
class Row:
    """An utterance as it is stored, at 16 kHz."""

    id: str
    samples: npt.NDArray[np.int16]
    transcript: str | None
    speaker: str | None
    source: str

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / 16_000


def rows_of(folder: Path) -> list[Row]:
    """The utterances of a dataset with codec pcm16."""
    rows = []
    for shard in sorted(folder.glob("shard-*.arrow")):
        with pa.memory_map(str(shard)) as file:
            for entry in pa.ipc.open_file(file).read_all().to_pylist():
                samples = np.frombuffer(entry["audio"], "<i2")
                if len(samples) != entry["num_samples"]:
                    raise ValueError(
                        f"{shard}: {entry['id']} says {entry['num_samples']}, holds {len(samples)} samples"
                    )
                rows.append(Row(entry["id"], samples, entry["transcript"], entry["speaker"], entry["source"]))
    return rows


def rejects_of(folder: Path) -> list[dict[str, Any]]:
    """What was left out of a dataset, with the reasons."""
    path = folder / "rejects.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
