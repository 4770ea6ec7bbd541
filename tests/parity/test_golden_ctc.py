"""The recogniser against numbers of the NVIDIA reference with masked norms and padded input."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import golden_table

pytestmark = [pytest.mark.parity, pytest.mark.shared]


@pytest.mark.parametrize("name", ["plain", "hourglass3"])
def test_log_probs_and_padding_are_reproduced(name: str, shared_dir: Path) -> None:
    found = {d.quantity: d for d in golden_table.differences(shared_dir / "golden" / f"ctc_masked_{name}.npz")}
    assert found["padding_mask"].absolute == 0
    assert found["log_probs"].absolute < 2e-5


def test_folding_the_weight_norm_changes_no_log_prob(shared_dir: Path) -> None:
    arrays = golden_table.load(shared_dir / "golden" / "ctc_masked_hourglass3.npz")
    model = golden_table.load_ctc_model(arrays)
    model.backbone.encoder.pos_conv.fold()
    with torch.no_grad():
        out = model(torch.from_numpy(arrays["source"]), torch.from_numpy(arrays["lengths"]))
    torch.testing.assert_close(out.log_probs, torch.from_numpy(arrays["log_probs"]), rtol=0.0, atol=2e-5)
