"""Span masks against statistics of 400 draws of the NVIDIA reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from w2v2_ray.model.masking import span_mask

pytestmark = [pytest.mark.parity, pytest.mark.shared]

DRAWS = 400


@pytest.mark.parametrize("case", range(4))
def test_masks_have_the_statistics_of_the_reference(case: int, shared_dir: Path) -> None:
    golden = json.loads((shared_dir / "golden" / "recipe.json").read_text())["mask_statistics"][case]
    rng = np.random.default_rng(case)
    fractions, runs = [], []
    for _ in range(DRAWS):
        mask = span_mask(rng, golden["batch"], golden["frames"], golden["mask_prob"], golden["mask_length"])
        assert (len(set(mask.sum(1))) == 1) is golden["same_count_per_row"]
        starts = mask & ~np.pad(mask, ((0, 0), (1, 0)))[:, :-1]
        fractions.append(mask.mean())
        runs.append(mask.sum() / starts.sum())
    # Both sides are means of 400 draws: their difference has sqrt(2 / 400) of a draw's deviation.
    sigma = np.sqrt(2 / DRAWS)
    assert abs(np.mean(fractions) - golden["mean_masked_fraction"]) < 4 * sigma * golden["std_masked_fraction"]
    assert np.std(fractions) == pytest.approx(golden["std_masked_fraction"], rel=0.2)
    assert abs(np.mean(runs) - golden["mean_run"]) < 4 * sigma * np.std(runs)
