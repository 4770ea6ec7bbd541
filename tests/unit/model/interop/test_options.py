"""Options beyond the presets in the files of other tools: kept where these have them, refused by name where not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interop_models import assert_same_weights, random_model

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.fairseq_checkpoint import export_fairseq, export_nvidia, import_fairseq
from w2v2_ray.model.interop.huggingface import export_huggingface, import_huggingface
from w2v2_ray.model.interop.torchaudio_state import export_torchaudio
from w2v2_ray.spec.model import ContrastiveLossSpec

MASKING = {
    "selection": "uniform",
    "other": 2.0,
    "no_overlap": True,
    "min_space": 3,
    "channel_selection": "normal",
    "channel_other": 1.5,
    "channel_no_overlap": True,
    "channel_min_space": 0,
}
ENCODER = {"layers": 4, "dim": 24, "ffn_dim": 40, "heads": 4, "position_kernel": 16, "position_groups": 4}
OPTIONS: dict[str, Any] = {
    "masking": MASKING,
    "quantizer": {"entries": 12, "depth": 3, "factor": 2},
    "target_glu": True,
    "encoder": ENCODER | {"hourglass": None, "activation": "silu"},
}
LOSS = ContrastiveLossSpec(negatives=7, cross_sample_negatives=3, codebook_negatives=2)


@pytest.mark.parametrize("export", [export_fairseq, export_nvidia])
def test_fairseq_and_nvidia_files_keep_every_option(export: Any, tmp_path: Path) -> None:
    model = replace(random_model("pretrain", **OPTIONS), loss=LOSS)
    export(model, tmp_path / "model.pt")
    again = import_fairseq(tmp_path / "model.pt")
    assert again.spec == model.spec
    assert again.loss == LOSS
    assert_same_weights(model, again)


def test_names_and_options_in_the_file_are_fairseqs(tmp_path: Path) -> None:
    export_nvidia(replace(random_model("pretrain", **OPTIONS), loss=LOSS), tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    names = {name for name in content["model"] if "weight_proj" in name or "glu" in name}
    assert names == {
        f"{module}.{leaf}"
        for module in (
            "quantizer.weight_proj.0.0",
            "quantizer.weight_proj.1.0",
            "quantizer.weight_proj.2",
            "target_glu.0",
        )
        for leaf in ("weight", "bias")
    }
    said = {
        "activation_fn": "swish",
        "quantizer_depth": 3,
        "quantizer_factor": 2,
        "target_glu": True,
        "mask_selection": "uniform",
        "mask_other": 2.0,
        "no_mask_overlap": True,
        "mask_min_space": 3,
        "no_mask_channel_overlap": True,
        "cross_sample_negatives": 3,
        "codebook_negatives": 2,
    }
    assert {name: content["args"][name] for name in said} == said


def test_a_recognisers_masks_are_those_of_its_fine_tuning(tmp_path: Path) -> None:
    model = random_model("ctc", masking=MASKING)
    export_fairseq(model, tmp_path / "model.pt")
    assert import_fairseq(tmp_path / "model.pt").spec.masking == model.spec.masking


def test_an_activation_nobody_has_is_refused_by_name(tmp_path: Path) -> None:
    export_nvidia(random_model("pretrain"), tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    content["args"]["activation_fn"] = "prelu"
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"activation_fn: prelu; gelu, relu, swish, tanh can be imported"):
        import_fairseq(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "option",
    [
        {"negatives_from_everywhere": True},
        {"mask_channel_before": True},
        {"require_same_masks": False},
        {"mask_dropout": 0.1},
    ],
    ids=str,
)
def test_an_option_of_training_that_is_not_here_is_named_and_leaves_the_network(
    option: dict[str, Any], tmp_path: Path
) -> None:
    model = random_model("pretrain")
    export_nvidia(model, tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    for value, named in ((option, True), ({}, False)):
        torch.save(content | {"args": content["args"] | value}, tmp_path / "model.pt")
        again = import_fairseq(tmp_path / "model.pt")
        assert_same_weights(model, again)
        assert any(next(iter(option)) in note for note in again.notes) == named


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"layer_type": "conformer"}, "layer_type: 'conformer'"),
        ({"rotary_embeddings": True}, "rotary_embeddings: True"),
        ({"pos_conv_depth": 5}, "pos_conv_depth: 5"),
        ({"conv_abs_pos": True}, "conv_abs_pos: True"),
        ({"quantize_input": True}, "quantize_input: True"),
        ({"same_quantizer": True}, "same_quantizer: True"),
        ({"adp_num": 4}, "adp_num: 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_network_is_refused_by_the_name_of_its_option(
    option: dict[str, Any], named: str, tmp_path: Path
) -> None:
    export_nvidia(random_model("pretrain"), tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    torch.save(content | {"args": content["args"] | option}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=f"trained with {named}, which is another network"):
        import_fairseq(tmp_path / "model.pt")


def test_transformers_has_the_activations_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    model = random_model("ctc", encoder=OPTIONS["encoder"])
    export_huggingface(model, tmp_path / "model")
    again = import_huggingface(tmp_path / "model")
    assert again.spec.encoder.activation == "silu"
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"hidden_act": "silu"', '"hidden_act": "quick_gelu"'))
    with pytest.raises(CheckpointError, match="its hidden_act is 'quick_gelu'"):
        import_huggingface(tmp_path / "model")


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"quantizer": {"entries": 12, "depth": 2}}, "quantizer.depth"),
        ({"target_glu": True}, "target_glu"),
        ({"masking": {"selection": "poisson"}}, "masking.selection"),
        ({"masking": {"no_overlap": True}}, "masking.no_overlap"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_transformers_lacks_is_refused_by_name(option: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"nothing like its {named}; export to fairseq or nvidia"):
        export_huggingface(random_model("pretrain", **option), tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["cross_sample_negatives", "codebook_negatives"])
def test_further_distractors_are_refused_for_transformers_by_name(name: str, tmp_path: Path) -> None:
    model = replace(random_model("pretrain"), loss=ContrastiveLossSpec.model_validate({name: 5}))
    with pytest.raises(CheckpointError, match=f"loss.{name}"):
        export_huggingface(model, tmp_path / "model")


def test_torchaudio_has_gelu_alone(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"encoder\.activation is silu"):
        export_torchaudio(random_model("ctc", encoder=OPTIONS["encoder"]), tmp_path / "model.pt")
