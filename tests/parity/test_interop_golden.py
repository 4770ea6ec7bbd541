"""The golden files as checkpoints of the NVIDIA reference and of fairseq, through the importer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from w2v2_ray.model.ctc import Wav2Vec2CtcModel
from w2v2_ray.model.interop.formats import import_model
from w2v2_ray.model.pretraining import Wav2Vec2PretrainModel

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import golden_table

pytestmark = [pytest.mark.parity, pytest.mark.shared]


def _checkpoint(arrays: golden_table.Arrays, form: str) -> dict[str, Any]:
    config = golden_table.read_config(arrays)
    weights = golden_table._tensors(arrays, "w:")
    if form == "nvidia":
        return {"args": {"mode": "pretrain", **config}, "model": weights, "ema_model": None, "optimizer": None}
    if form == "args":
        return {"args": argparse.Namespace(arch="wav2vec2", **config), "model": weights, "extra_state": {}}
    criterion = {"_name": "wav2vec", "loss_weights": config.pop("loss_weights")}
    task = {"_name": "audio_pretraining", "normalize": config.pop("normalize")}
    config |= {"_name": "wav2vec2", "normalize": "${task.normalize}"}
    return {"args": None, "cfg": {"model": config, "task": task, "criterion": criterion}, "model": weights}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("plain", "args"),
        ("large_style", "cfg"),
        ("hourglass3_naive", "nvidia"),
        ("hourglass4_linear", "nvidia"),
    ],
)
def test_a_pretrained_golden_file_imports_to_its_logits(name: str, form: str, shared_dir: Path, tmp_path: Path) -> None:
    arrays = golden_table.load(shared_dir / "golden" / f"pretrain_{name}.npz")
    torch.save(_checkpoint(arrays, form), tmp_path / "golden.pt")
    loaded = import_model(tmp_path / "golden.pt")
    assert loaded.kind == "pretrain"
    model = loaded.build()
    assert isinstance(model, Wav2Vec2PretrainModel)
    sizes, masks, negatives = golden_table.sub_batch_inputs(arrays)
    with torch.no_grad():
        out = model(
            torch.from_numpy(arrays["source"]), sizes, masks, negatives, gumbel_temperature=2.0, return_logits=True
        )
    assert out.logits is not None
    logits = golden_table._in_golden_order(out.logits)
    assert golden_table._difference("logits", logits, arrays["logits"]).absolute < 2e-5
    # Every weight of the loss came with the options.
    assert golden_table._difference("loss_sum", out.loss_sum, arrays["loss_sum"]).relative < 5e-6


@pytest.mark.parametrize("name", ["plain", "hourglass3"])
def test_a_fine_tuned_golden_file_imports_to_its_log_probs(name: str, shared_dir: Path, tmp_path: Path) -> None:
    arrays = golden_table.load(shared_dir / "golden" / f"ctc_masked_{name}.npz")
    checkpoint = _checkpoint(arrays, "nvidia")
    checkpoint["output_labels"] = "".join(f"{symbol} 10\n" for symbol in "|ETAONIH")
    torch.save(checkpoint, tmp_path / "golden.pt")
    loaded = import_model(tmp_path / "golden.pt")
    assert loaded.vocabulary == ("<s>", "<pad>", "</s>", "<unk>", *"|ETAONIH")
    model = loaded.build()
    assert isinstance(model, Wav2Vec2CtcModel)
    with torch.no_grad():
        out = model(torch.from_numpy(arrays["source"]), torch.from_numpy(arrays["lengths"]))
    assert golden_table._difference("log_probs", out.log_probs, arrays["log_probs"]).absolute < 2e-5
