"""Hugging Face folders, without transformers; tests/parity has the comparison with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interop_models import VOCABULARY, assert_same_weights, random_model
from safetensors.torch import load_file, save_file

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model, import_model

FILES = {"config.json", "preprocessor_config.json", "model.safetensors"}
TOKENIZER = {"vocab.json", "tokenizer_config.json", "special_tokens_map.json"}


@pytest.mark.parametrize("kind", ["pretrain", "ctc", "backbone"])
@pytest.mark.parametrize("large", [False, True])
def test_export_and_import_is_the_identity(kind: Any, large: bool, tmp_path: Path) -> None:
    model = random_model(kind, large=large)
    export_model(model, TargetFormat.HUGGINGFACE, tmp_path / "hf")
    back = import_model(tmp_path / "hf")
    assert_same_weights(model, back)
    assert (back.kind, back.vocabulary, back.spec.encoder) == (kind, model.vocabulary, model.spec.encoder)
    assert back.spec.normalize_waveform is large
    assert {path.name for path in (tmp_path / "hf").iterdir()} == FILES | (TOKENIZER if kind == "ctc" else set())


def test_the_blank_is_called_pad_there(tmp_path: Path) -> None:
    export_model(random_model(), TargetFormat.HUGGINGFACE, tmp_path / "hf")
    index = json.loads((tmp_path / "hf" / "vocab.json").read_text())
    assert {symbol: index[symbol] for symbol in ("<pad>", "<s>", "|")} == {"<pad>": 0, "<s>": 1, "|": 4}
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (config["pad_token_id"], config["bos_token_id"], config["vocab_size"]) == (0, 1, len(VOCABULARY))


def _as_bin(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _old_weight_norm(folder: Path) -> None:
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = load_file(folder / "model.safetensors")
    for new, old in names.items():
        name = f"wav2vec2.encoder.pos_conv_embed.conv.{new}"
        weights[name.replace(new, old)] = weights.pop(name)
    save_file(weights, folder / "model.safetensors")


def _sharded(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    names = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(weights)}
    for file in set(names.values()):
        save_file({name: weights[name] for name in weights if names[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "model.safetensors").unlink()


def _no_defaults(folder: Path) -> None:
    """Older versions leave out of config.json what is the default."""
    config = json.loads((folder / "config.json").read_text())
    for key in ("do_stable_layer_norm", "conv_bias", "pad_token_id", "conv_stride", "mask_time_length"):
        del config[key]
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("change", [_as_bin, _old_weight_norm, _sharded, _no_defaults])
def test_forms_in_the_wild_import_to_the_same(change: Callable[[Path], None], tmp_path: Path) -> None:
    model = random_model("ctc")
    export_model(model, TargetFormat.HUGGINGFACE, tmp_path / "hf")
    change(tmp_path / "hf")
    assert_same_weights(model, import_model(tmp_path / "hf"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "hubert"}, "its model_type is 'hubert'"),
        ({"architectures": ["Wav2Vec2ForSequenceClassification"]}, "Wav2Vec2ForSequenceClassification; "),
        ({"hidden_act": "gelu_new"}, "its hidden_act is 'gelu_new'"),
        ({"add_adapter": True}, "its add_adapter is True"),
        ({"num_hidden_layers": 12}, "contradict each other: encoder.layers 12 said, 4 found"),
        ({"num_attention_heads": 7}, "heads: 7 does not divide dim: 24"),
        ({"pad_token_id": 77}, "pad_token_id 77, the blank, is not one of its 11 outputs"),
    ],
)
def test_another_network_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    export_model(random_model(), TargetFormat.HUGGINGFACE, tmp_path / "hf")
    path = tmp_path / "hf" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError) as caught:
        import_model(tmp_path / "hf")
    assert message in caught.value.message


def test_missing_weights_and_a_broken_configuration_are_reported(tmp_path: Path) -> None:
    export_model(random_model(), TargetFormat.HUGGINGFACE, tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="no weights in it"):
        import_model(tmp_path / "hf")
    with pytest.raises(CheckpointError, match="give its folder"):
        import_model(tmp_path / "m.safetensors")
    (tmp_path / "hf" / "config.json").write_text('{"model_type": "wav')
    with pytest.raises(CheckpointError, match=r"config\.json: not JSON"):
        import_model(tmp_path / "hf")


def test_a_vocabulary_given_replaces_the_folders_own(tmp_path: Path) -> None:
    export_model(random_model(), TargetFormat.HUGGINGFACE, tmp_path / "hf")
    (tmp_path / "hf" / "vocab.json").unlink()
    assert import_model(tmp_path / "hf").vocabulary is None
    symbols = tuple("-|ABCDEFGHI")
    assert import_model(tmp_path / "hf", vocabulary=symbols).vocabulary == symbols
    with pytest.raises(CheckpointError, match="3 symbols in the vocabulary for 11 outputs"):
        import_model(tmp_path / "hf", vocabulary=symbols[:3])
