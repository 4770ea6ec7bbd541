from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
from w2v2_ray.model.interop.fairseq_names import from_fairseq, to_fairseq
from w2v2_ray.spec.model import ModelSpec

SMALL: dict[str, Any] = {
    "feature_encoder": {"conv_layers": [(8, 10, 5), (8, 3, 2)]},
    "encoder": {"layers": 3, "dim": 8, "ffn_dim": 8, "heads": 2, "position_kernel": 4, "position_groups": 2},
    "quantizer": {"codebooks": 2, "entries": 4},
    "final_dim": 8,
}
HOURGLASS = {"pre_layers": 1, "middle_layers": 1, "post_layers": 1, "shorten_factor": 2, "resample": "linear"}


def spec(hourglass: dict[str, Any] | None, norm: str = "group_norm") -> ModelSpec:
    encoder = SMALL["encoder"] | {"hourglass": hourglass}
    conv = SMALL["feature_encoder"] | {"norm": norm, "bias": norm == "layer_norm"}
    return ModelSpec.model_validate(SMALL | {"encoder": encoder, "feature_encoder": conv})


@pytest.mark.parametrize("hourglass", [None, HOURGLASS])
@pytest.mark.parametrize("norm", ["group_norm", "layer_norm"])
@pytest.mark.parametrize("finetuned", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_there_and_back_is_the_identity(
    hourglass: dict[str, Any] | None, norm: str, finetuned: bool, masked: bool
) -> None:
    model = build_ctc_model(spec(hourglass, norm), 5) if finetuned else build_pretrain_model(spec(hourglass, norm))
    ours = model.state_dict()
    theirs = to_fairseq(ours, masked_extractor=masked)
    assert not any("backbone" in name or "stack" in name or "qkv" in name for name in theirs)
    back = from_fairseq(theirs, num_codebooks=2)
    assert set(back) == set(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "masked"),
    [
        ("pretrain_plain", False),
        ("pretrain_large_style", False),
        ("pretrain_hourglass3_naive", False),
        ("pretrain_hourglass4_linear", False),
        ("ctc_masked_plain", True),
        ("ctc_masked_hourglass3", True),
    ],
)
def test_exported_names_are_those_of_the_golden_files(file: str, masked: bool, shared_dir: Path) -> None:
    with np.load(shared_dir / "golden" / f"{file}.npz") as arrays:
        theirs = {n.removeprefix("w:"): torch.from_numpy(arrays[n]) for n in arrays.files if n.startswith("w:")}
    again = to_fairseq(from_fairseq(theirs, num_codebooks=2), masked_extractor=masked)
    if masked:
        # Fine-tuning keeps a mask embedding and drops the quantiser: nothing is lost either way.
        assert not any("quantizer" in name for name in again)
    assert set(again) == set(theirs)
    assert all(torch.equal(again[name], theirs[name]) for name in theirs)


def test_both_namings_of_weight_norm_load() -> None:
    model = build_pretrain_model(spec(None))
    theirs = to_fairseq(model.state_dict())
    new = {
        name.replace("pos_conv.0.weight_g", "pos_conv.0.parametrizations.weight.original0").replace(
            "pos_conv.0.weight_v", "pos_conv.0.parametrizations.weight.original1"
        ): tensor
        for name, tensor in theirs.items()
    }
    assert set(new) != set(theirs)
    assert set(from_fairseq(new, num_codebooks=2)) == set(model.state_dict())


def test_unknown_names_are_kept_for_the_loader_to_report() -> None:
    tensor = torch.zeros(1)
    assert from_fairseq({"encoder.surprise.weight": tensor, "encoder.layers.0.adapter.weight": tensor}) == {
        "encoder.surprise.weight": tensor,
        "encoder.layers.0.adapter.weight": tensor,
    }


def test_a_missing_projection_and_a_wrong_number_of_codebooks_are_named() -> None:
    theirs = to_fairseq(build_pretrain_model(spec(None)).state_dict())
    with pytest.raises(ValueError, match=r"quantizer\.vars has shape \[1, 8, 4\], which 3 codebooks"):
        from_fairseq(theirs, num_codebooks=3)
    del theirs["encoder.layers.1.self_attn.k_proj.weight"]
    with pytest.raises(ValueError, match=r"layers\.1\.attention\.qkv\.weight: k_proj missing"):
        from_fairseq(theirs, num_codebooks=2)
