"""State dicts of `torchaudio.models.Wav2Vec2Model`. torchaudio itself is not needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop import vocabulary
from w2v2_ray.model.interop.architecture import Hints, infer_spec
from w2v2_ray.model.interop.loaded_model import MASK_EMBEDDING, LoadedModel, check_model, kind_of
from w2v2_ray.model.interop.module_names import TORCHAUDIO, from_modules, to_modules
from w2v2_ray.model.interop.weights_file import as_state_dict, read_state_dict
from w2v2_ray.places.new_files import new_file

_ARGUMENTS = {
    "extractor_mode": "feature_encoder.norm",
    "extractor_conv_layer_config": "feature_encoder.conv_layers",
    "extractor_conv_bias": "feature_encoder.bias",
    "encoder_embed_dim": "encoder.dim",
    "encoder_projection_dropout": "dropout_input",
    "encoder_pos_conv_kernel": "encoder.position_kernel",
    "encoder_pos_conv_groups": "encoder.position_groups",
    "encoder_num_layers": "encoder.layers",
    "encoder_num_heads": "encoder.heads",
    "encoder_attention_dropout": "encoder.attention_dropout",
    "encoder_ff_interm_features": "encoder.ffn_dim",
    "encoder_ff_interm_dropout": "encoder.activation_dropout",
    "encoder_dropout": "encoder.dropout",
    "encoder_layer_norm_first": "encoder.norm_first",
    "encoder_layer_drop": "encoder.layer_drop",
}
"""Arguments of `torchaudio.models.wav2vec2_model` and the fields of the spec that they are."""

_MODEL_ARGUMENTS = "wav2vec2_model"


def arguments_path(path: Path) -> Path:
    """Where the arguments of `wav2vec2_model` are written: beside the state dict, with the suffix `.json`."""
    return path.with_suffix(".json")


def import_torchaudio_state(path: Path, symbols: tuple[str, ...] | None = None) -> LoadedModel:
    """Read a state dict of torchaudio, with the arguments beside it if `export_torchaudio` wrote them.

    A state dict alone says nothing of strides, heads and norm order; then those of the published models are assumed,
    and the notes say so.

    Raises:
        CheckpointError: When it is damaged or another architecture.
    """
    return convert_torchaudio(read_state_dict(path), str(path), symbols, read_description(path))


def read_description(path: Path) -> dict[str, Any]:
    """Read what `export_torchaudio` wrote beside a state dict; empty where there is nothing.

    Raises:
        CheckpointError: When something else is there.
    """
    beside = arguments_path(path)
    if not beside.exists() or beside == path:
        return {}
    content = vocabulary.parse_json(vocabulary.read_small_text(beside), str(beside))
    if not isinstance(content, dict) or not isinstance(content.get(_MODEL_ARGUMENTS), dict):
        raise CheckpointError(f"{beside}: not the description of a torchaudio model; move it away to do without")
    return content


def convert_torchaudio(
    content: Any, source: str, symbols: tuple[str, ...] | None = None, description: dict[str, Any] | None = None
) -> LoadedModel:
    """Convert a loaded state dict; see `import_torchaudio_state`."""
    description = description or {}
    theirs = as_state_dict(content, source)
    try:
        state = from_modules(theirs, TORCHAUDIO)
        hints = _hints(description, source)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{source}: {error}") from None
    embedding = state.get("backbone.encoder.layer_norm.weight")
    if embedding is not None:
        state[MASK_EMBEDDING] = torch.zeros(embedding.shape[0])
    spec, notes = infer_spec(state, hints)
    kind = kind_of(state)
    if kind == "ctc" and symbols is None and isinstance(description.get("labels"), list):
        symbols = tuple(str(symbol) for symbol in description["labels"])
    missing = "torchaudio has no mask embedding: zeros stand for it, which matters only for training with masks"
    return check_model(LoadedModel(spec, kind, state, symbols, source=source, notes=(*notes, missing)))


def _hints(description: dict[str, Any], source: str) -> Hints:
    arguments = description.get(_MODEL_ARGUMENTS, {})
    spec: dict[str, Any] = {"feature_encoder": {}, "encoder": {}}
    for argument, path in _ARGUMENTS.items():
        if argument in arguments:
            parent, _, name = path.rpartition(".")
            (spec[parent] if parent else spec)[name] = arguments[argument]
    if "normalize_waveform" in description:
        spec["normalize_waveform"] = bool(description["normalize_waveform"])
    layers = spec["feature_encoder"].get("conv_layers")
    return Hints(spec, None if layers is None else tuple(int(stride) for _, _, stride in layers), source)


def wav2vec2_model_arguments(model: LoadedModel) -> dict[str, Any]:
    """Arguments with which `torchaudio.models.wav2vec2_model` builds the network of a model.

    Raises:
        CheckpointError: When torchaudio has no such network.
    """
    if model.spec.encoder.hourglass is not None:
        raise CheckpointError(
            f"{model.source}: torchaudio has no Hourglass; export to nvidia, onnx or torch-export, which have"
        )
    if model.spec.encoder.activation != "gelu":
        raise CheckpointError(
            f"{model.source}: torchaudio has GELU alone, its encoder.activation is {model.spec.encoder.activation}; "
            "export to fairseq, huggingface or nvidia, which have it"
        )
    document = model.spec.model_dump(mode="json")
    arguments: dict[str, Any] = {}
    for argument, path in _ARGUMENTS.items():
        parent, _, name = path.rpartition(".")
        arguments[argument] = (document[parent] if parent else document)[name]
    return {**arguments, "aux_num_out": model.vocab_size}


def export_torchaudio(model: LoadedModel, path: Path) -> tuple[Path, ...]:
    """Write a state dict for `torchaudio.models.wav2vec2_model`, and its arguments beside it as JSON.

    Of a pre-training model that is the backbone: torchaudio has no quantizer.

    Returns:
        The files written.

    Raises:
        CheckpointError: When torchaudio has no such network.
    """
    beside: dict[str, Any] = {_MODEL_ARGUMENTS: wav2vec2_model_arguments(model)}
    beside |= {"normalize_waveform": model.spec.normalize_waveform}
    if model.vocabulary is not None:
        beside["labels"] = list(model.vocabulary)
    with new_file(path) as temporary:
        torch.save(to_modules(model.state, TORCHAUDIO), temporary)
    with new_file(arguments_path(path)) as temporary:
        temporary.write_text(json.dumps(beside, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path, arguments_path(path)
