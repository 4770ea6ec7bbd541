"""Converted models against torchaudio: same weights, same waveform, both directions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import interop_table

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("style", ["base", "large"])
def test_what_torchaudio_computes_is_what_we_compute(style: str, tmp_path: Path) -> None:
    found = {
        (row.direction, row.quantity): row.difference for row in interop_table.torchaudio_rows("small", style, tmp_path)
    }
    for direction in ("export", "import"):
        assert found[direction, "ctc: hidden states"] < 1e-5
        assert found[direction, "ctc: log-probs"] < 1e-5
    assert found["round trip", "ctc: weights, mask embedding apart"] == 0.0
