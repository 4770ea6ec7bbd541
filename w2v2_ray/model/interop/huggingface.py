"""Hugging Face model folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop import vocabulary
from w2v2_ray.model.interop.architecture import count_codebooks, infer_spec
from w2v2_ray.model.interop.huggingface_config import (
    blank_of,
    config_of,
    final_dropout_of,
    hints_from_config,
    loss_from_config,
    preprocessor_of,
    refuse_what_it_lacks,
    tokenizer_of,
)
from w2v2_ray.model.interop.huggingface_tokens import SPECIAL_TOKENS, TOKENIZER, VOCABULARY, read_tokens
from w2v2_ray.model.interop.loaded_model import HEAD_WEIGHT, MASK_EMBEDDING, LoadedModel, check_model, kind_of
from w2v2_ray.model.interop.module_names import HUGGINGFACE, from_modules, to_modules
from w2v2_ray.model.interop.safe_pickle import load_pickled
from w2v2_ray.model.interop.weights_file import as_state_dict, read_safetensors, write_safetensors
from w2v2_ray.places.new_files import new_folder

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
WEIGHTS = "model.safetensors"
PICKLED_WEIGHTS = "pytorch_model.bin"


def import_huggingface(folder: Path, symbols: tuple[str, ...] | None = None) -> LoadedModel:
    """Read a `Wav2Vec2ForPreTraining`, `Wav2Vec2ForCTC` or `Wav2Vec2Model` that `save_pretrained` wrote.

    A blank that is not the first output is moved there, with its row of the head.

    Args:
        folder: With `config.json` and `model.safetensors` or `pytorch_model.bin`, in one file or several.
        symbols: Vocabulary to use instead of the folder's own, in the order of its outputs.

    Raises:
        CheckpointError: When something is missing, damaged, or another architecture.
    """
    source = str(folder)
    config = vocabulary.read_json_object(folder / CONFIG)
    preprocessor, assumption = _feature_extractor(folder)
    hints = hints_from_config(config, preprocessor, source)
    theirs = _read_weights(folder)
    try:
        codebooks = count_codebooks(theirs.get("quantizer.codevectors"), theirs.get("project_q.weight"))
        state = from_modules(theirs, HUGGINGFACE, codebooks)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from None
    notes = [assumption] if assumption else []
    if MASK_EMBEDDING not in state and "backbone.encoder.layer_norm.weight" in state:
        state[MASK_EMBEDDING] = torch.zeros(state["backbone.encoder.layer_norm.weight"].shape[0])
        notes.append("no mask embedding in it: zeros stand for it, which matters only for training with masks")
    spec, assumed = infer_spec(state, hints)
    kind = kind_of(state)
    if kind == "ctc":
        symbols, found = _recogniser(folder, config, state, symbols)
        notes += found
    return check_model(
        LoadedModel(
            spec=spec,
            kind=kind,
            state=state,
            vocabulary=symbols,
            loss=loss_from_config(config) if kind == "pretrain" else None,
            final_dropout=final_dropout_of(config) if kind == "ctc" else 0.0,
            source=source,
            notes=(*assumed, *notes),
        )
    )


def _recogniser(
    folder: Path, config: dict[str, Any], state: dict[str, Tensor], symbols: tuple[str, ...] | None
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Put the blank first in head and vocabulary; what the user should know of it."""
    outputs, blank = state[HEAD_WEIGHT].shape[0], blank_of(config)
    if not 0 <= blank < outputs:
        raise CheckpointError(f"{folder}: pad_token_id {blank}, the blank, is not one of its {outputs} outputs")
    notes: list[str] = []
    if symbols is not None:
        if len(symbols) != outputs:
            raise CheckpointError(f"{folder}: {len(symbols)} symbols in the vocabulary for {outputs} outputs")
        symbols = vocabulary.from_huggingface(symbols, blank, None)
    elif (table := read_tokens(folder, outputs, blank)) is not None:
        symbols, blank = table.ours(), table.blank
        notes += table.notes
    if blank == 0:
        return symbols, notes
    order = vocabulary.blank_first(outputs, blank)
    for name in (HEAD_WEIGHT, "head.bias"):
        if name in state:
            state[name] = state[name][order]
    return symbols, [*notes, f"the blank, output {blank} there, is output 0 here; the others keep their order"]


def _feature_extractor(folder: Path) -> tuple[dict[str, Any], str | None]:
    """How the waveform is made ready, from the file of transformers 5 or of earlier ones, or what is assumed."""
    if (folder / PROCESSOR).exists():
        inside = vocabulary.read_json_object(folder / PROCESSOR).get("feature_extractor")
        if isinstance(inside, dict):
            return inside, None
    if (folder / PREPROCESSOR).exists():
        return vocabulary.read_json_object(folder / PREPROCESSOR), None
    return {}, (
        f"no {PREPROCESSOR} and no feature extractor in {PROCESSOR}: as transformers does then, waveforms are scaled "
        "to zero mean and unit variance (model.normalize_waveform: true)"
    )


def _read_weights(folder: Path) -> dict[str, Tensor]:
    for name in (WEIGHTS, PICKLED_WEIGHTS):
        index = folder / f"{name}.index.json"
        if (folder / name).exists():
            return _read_file(folder / name)
        if index.exists():
            return _read_shards(folder, index)
    raise CheckpointError(f"{folder}: no weights in it; {WEIGHTS} or {PICKLED_WEIGHTS} was expected")


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    named = vocabulary.read_json_object(index).get("weight_map")
    files = sorted({str(file) for file in named.values()}) if isinstance(named, dict) else []
    if not files or any(Path(file).name != file for file in files):
        raise CheckpointError(f"{index}: its weight_map does not name files of this folder")
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= _read_file(folder / file)
    return weights


def _read_file(path: Path) -> dict[str, Tensor]:
    content = read_safetensors(path) if path.suffix == ".safetensors" else load_pickled(path)
    return as_state_dict(content, str(path))


def export_huggingface(model: LoadedModel, folder: Path) -> tuple[Path, ...]:
    """Write a folder that `from_pretrained` of transformers loads: model, feature extractor and tokenizer.

    Returns:
        The files written.

    Raises:
        CheckpointError: When transformers has no such network.
        StorageError: When the folder cannot be written.
    """
    refuse_what_it_lacks(model)
    files: dict[str, Any] = {CONFIG: config_of(model), PREPROCESSOR: preprocessor_of(model)}
    if model.vocabulary is not None:
        symbols = vocabulary.to_huggingface(model.vocabulary)
        files[VOCABULARY] = {symbol: number for number, symbol in enumerate(symbols)}
        files[TOKENIZER], files[SPECIAL_TOKENS] = tokenizer_of(symbols)
        for key, name in (("bos_token_id", "bos_token"), ("eos_token_id", "eos_token")):
            files[CONFIG][key] = files[VOCABULARY].get(files[TOKENIZER][name])
    state = to_modules(model.state, HUGGINGFACE, with_base=model.kind != "backbone")
    with new_folder(folder, replaces=(CONFIG,)) as temporary:
        for name, content in files.items():
            (temporary / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        write_safetensors(temporary / WEIGHTS, state)
    return tuple(folder / name for name in (*files, WEIGHTS))
