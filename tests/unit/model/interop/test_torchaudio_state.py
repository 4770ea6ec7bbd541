"""torchaudio's state dicts, without torchaudio; tests/parity has the comparison with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from interop_models import assert_same_weights, random_model
from safetensors.torch import save_file

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model, import_model
from w2v2_ray.model.interop.loaded_model import MASK_EMBEDDING


@pytest.mark.parametrize("kind", ["ctc", "backbone"])
@pytest.mark.parametrize("large", [False, True])
def test_export_and_import_is_the_identity(kind: Any, large: bool, tmp_path: Path) -> None:
    model = random_model(kind, large=large)
    export_model(model, TargetFormat.TORCHAUDIO, tmp_path / "audio.pt")
    back = import_model(tmp_path / "audio.pt")
    assert_same_weights(model, back, apart=(MASK_EMBEDDING,))
    assert not back.state[MASK_EMBEDDING].any()
    assert any("no mask embedding" in note for note in back.notes)
    assert (back.kind, back.vocabulary, back.spec.encoder) == (kind, model.vocabulary, model.spec.encoder)


def test_of_a_pretraining_model_the_backbone_is_exported(tmp_path: Path) -> None:
    model = random_model("pretrain")
    export_model(model, TargetFormat.TORCHAUDIO, tmp_path / "audio.pt")
    back = import_model(tmp_path / "audio.pt")
    assert back.kind == "backbone"
    assert torch.equal(back.state["backbone.feature_norm.weight"], model.state["backbone.feature_norm.weight"])


@pytest.mark.parametrize("safetensors", [False, True])
def test_a_state_dict_alone_takes_what_published_models_have_in_common(safetensors: bool, tmp_path: Path) -> None:
    model = random_model(large=True)
    export_model(model, TargetFormat.TORCHAUDIO, tmp_path / "audio.pt")
    (tmp_path / "audio.json").unlink()
    path = tmp_path / "audio.pt"
    if safetensors:
        path = tmp_path / "audio.safetensors"
        save_file(torch.load(tmp_path / "audio.pt", weights_only=True), path)
    back = import_model(path)
    assert_same_weights(model, back, apart=(MASK_EMBEDDING,))
    assert back.spec.feature_encoder == model.spec.feature_encoder
    assert (back.spec.encoder.norm_first, back.spec.encoder.heads) == (True, 1)
    assert len(back.notes) == 4


def test_unusual_strides_cannot_be_assumed(tmp_path: Path) -> None:
    model = random_model(feature_encoder={"conv_layers": [(16, 8, 4), (16, 4, 4)]})
    export_model(model, TargetFormat.TORCHAUDIO, tmp_path / "audio.pt")
    assert import_model(tmp_path / "audio.pt").spec.feature_encoder == model.spec.feature_encoder
    (tmp_path / "audio.json").unlink()
    with pytest.raises(CheckpointError, match=r"strides of 2 convolutions with kernels \[8, 4\] are not said"):
        import_model(tmp_path / "audio.pt")


def test_a_description_of_another_model_is_noticed(tmp_path: Path) -> None:
    export_model(random_model(), TargetFormat.TORCHAUDIO, tmp_path / "audio.pt")
    path = tmp_path / "audio.json"
    content = json.loads(path.read_text())
    content["wav2vec2_model"]["encoder_num_layers"] = 12
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"encoder\.layers 12 said, 4 found"):
        import_model(tmp_path / "audio.pt")
    path.write_text('{"something": "else"}')
    with pytest.raises(CheckpointError, match="not the description of a torchaudio model"):
        import_model(tmp_path / "audio.pt")
