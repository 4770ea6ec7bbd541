"""The pre-training model against numbers of the NVIDIA reference: outputs, losses and every gradient."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import golden_table

pytestmark = [pytest.mark.parity, pytest.mark.shared]

FILES = ["plain", "large_style", "hourglass3_naive", "hourglass4_linear", "hourglass3_concat"]
RELATIVE = 5e-6
"""Largest difference allowed, over the largest absolute value of the golden tensor. About 1.5e-6 is reached."""
GRADIENT = {"large_style": 1e-4}
"""The same for gradients, where a file is less exact than that itself: in double precision, where our own rounding is
out of the way, `large_style`'s differ by 2.6e-5 (others: below 4e-6). In fp32 3.0e-5 was seen on one processor, and
1.6e-6 on the kind that the file was made on."""


@pytest.mark.parametrize("name", FILES)
def test_everything_a_pretraining_file_records_is_reproduced(name: str, shared_dir: Path) -> None:
    found = {d.quantity: d for d in golden_table.differences(shared_dir / "golden" / f"pretrain_{name}.npz")}
    for exact in ("sample_size", "correct"):
        assert found[exact].absolute == 0
    assert len([quantity for quantity in found if quantity.startswith("g:")]) >= 74
    assert {"logits", "loss_sum", "losses", "features_pen", "encoder_out"} < set(found)
    limits = {quantity: GRADIENT.get(name, RELATIVE) if quantity.startswith("g:") else RELATIVE for quantity in found}
    assert {quantity: d.relative for quantity, d in found.items() if d.relative > limits[quantity]} == {}


def test_each_loss_term_is_reproduced_on_its_own_scale(shared_dir: Path) -> None:
    arrays = golden_table.load(shared_dir / "golden" / "pretrain_hourglass3_concat.npz")
    model = golden_table.load_pretrain_model(arrays)
    sizes, masks, negatives = golden_table.sub_batch_inputs(arrays)
    out = model(torch.from_numpy(arrays["source"]), sizes, masks, negatives, gumbel_temperature=1.0)
    terms = torch.stack([out.contrastive, out.diversity, out.features_penalty]).double()
    torch.testing.assert_close(terms, torch.from_numpy(arrays["losses"]), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("name", ["hourglass3_concat", "large_style"])
def test_activation_checkpointing_reproduces_the_same_gradients(name: str, shared_dir: Path) -> None:
    arrays = golden_table.load(shared_dir / "golden" / f"pretrain_{name}.npz")
    model = golden_table.load_pretrain_model(arrays)
    model.backbone.encoder.set_activation_checkpointing(True)
    sizes, masks, negatives = golden_table.sub_batch_inputs(arrays)
    out = model(torch.from_numpy(arrays["source"]), sizes, masks, negatives, gumbel_temperature=1.0)
    out.loss_sum.backward()
    assert max(d.relative for d in golden_table.gradient_differences(model, arrays)) < GRADIENT.get(name, RELATIVE)


@pytest.mark.parametrize("name", ["plain", "large_style", "hourglass3_naive", "hourglass4_linear"])
def test_gradients_in_double_precision_are_the_files_up_to_its_own_rounding(name: str, shared_dir: Path) -> None:
    arrays = golden_table.load(shared_dir / "golden" / f"pretrain_{name}.npz")
    model = golden_table.load_pretrain_model(arrays).double()
    sizes, masks, negatives = golden_table.sub_batch_inputs(arrays)
    out = model(torch.from_numpy(arrays["source"]).double(), sizes, masks, negatives, gumbel_temperature=1.0)
    out.loss_sum.backward()
    # No rounding of ours, so no processor's order of additions: the same on every machine.
    limit = 3e-5 if name == "large_style" else RELATIVE
    assert max(d.relative for d in golden_table.gradient_differences(model, arrays)) < limit


def test_a_wrong_constant_is_noticed(shared_dir: Path) -> None:
    arrays = golden_table.load(shared_dir / "golden" / "pretrain_plain.npz")
    model = golden_table.load_pretrain_model(arrays)
    model.logit_temperature = 0.101
    sizes, masks, negatives = golden_table.sub_batch_inputs(arrays)
    model(torch.from_numpy(arrays["source"]), sizes, masks, negatives, gumbel_temperature=1.0).loss_sum.backward()
    assert max(d.relative for d in golden_table.gradient_differences(model, arrays)) > 100 * RELATIVE
