"""fairseq's and the NVIDIA reference's `.pt` files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop import vocabulary
from w2v2_ray.model.interop.architecture import count_codebooks, infer_spec
from w2v2_ray.model.interop.fairseq_names import from_fairseq, to_fairseq
from w2v2_ray.model.interop.fairseq_options import (
    hints_from,
    loss_from,
    options_of,
    read_options,
    training_notes,
)
from w2v2_ray.model.interop.loaded_model import MASK_EMBEDDING, LoadedModel, check_model, kind_of
from w2v2_ray.model.interop.safe_pickle import Inert, load_pickled
from w2v2_ray.model.interop.weights_file import as_state_dict
from w2v2_ray.places.new_files import new_file

_PROJECTION = "backbone.input_proj"
_UNUSED = ("_ema", "num_updates")
DICTIONARY = "dict.ltr.txt"
"""Name that fairseq looks for beside its data."""


def import_fairseq(path: Path, symbols: tuple[str, ...] | None = None) -> LoadedModel:
    """Read a checkpoint of fairseq (both forms of its options) or of the NVIDIA reference, pre-trained or fine-tuned.

    Args:
        path: The `.pt`.
        symbols: Vocabulary to use instead of the file's own.

    Raises:
        CheckpointError: When it is hostile, damaged, or another architecture.
    """
    return convert_fairseq(load_pickled(path), str(path), symbols)


def convert_fairseq(checkpoint: Any, source: str, symbols: tuple[str, ...] | None = None) -> LoadedModel:
    """Convert what a `.pt` held; see `import_fairseq`."""
    if not isinstance(checkpoint, Mapping) or not isinstance(checkpoint.get("model"), Mapping):
        raise CheckpointError(f"{source}: no state dict under `model`; not a checkpoint of fairseq or the NVIDIA one")
    theirs = as_state_dict(checkpoint["model"], f"{source}: model")
    theirs = {name: tensor for name, tensor in theirs.items() if name not in _UNUSED}
    options = read_options(checkpoint, source)
    try:
        codebooks = count_codebooks(theirs.get("quantizer.vars"), theirs.get("project_q.weight"))
        state = from_fairseq(theirs, num_codebooks=codebooks)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from None
    notes = _complete(state)
    spec, assumed = infer_spec(state, hints_from(options))
    kind = kind_of(state)
    if kind == "ctc" and symbols is None:
        symbols = _vocabulary(checkpoint, source)
    return check_model(
        LoadedModel(
            spec=spec,
            kind=kind,
            state=state,
            vocabulary=symbols,
            loss=loss_from(options) if kind == "pretrain" else None,
            final_dropout=options.final_dropout if kind == "ctc" else 0.0,
            source=source,
            notes=(*assumed, *notes, *training_notes(options)),
        )
    )


def _complete(state: dict[str, Tensor]) -> list[str]:
    """Add what fairseq leaves out of a file because it does nothing."""
    notes: list[str] = []
    norm, embedding = state.get("backbone.feature_norm.weight"), state.get("backbone.encoder.layer_norm.weight")
    if norm is None or embedding is None:
        return notes
    if f"{_PROJECTION}.weight" not in state and norm.shape == embedding.shape:
        # fairseq has no projection between equal widths; the identity is the same network.
        state[f"{_PROJECTION}.weight"] = torch.eye(norm.shape[0])
        state[f"{_PROJECTION}.bias"] = torch.zeros(norm.shape[0])
        notes.append("no projection between features and encoder of equal width: the identity stands for it")
    if MASK_EMBEDDING not in state:
        state[MASK_EMBEDDING] = torch.zeros(embedding.shape[0])
        notes.append("no mask embedding in it: zeros stand for it, which matters only for training with masks")
    return notes


def _vocabulary(checkpoint: Mapping[str, Any], source: str) -> tuple[str, ...] | None:
    """NVIDIA's dictionary text, or the symbols of fairseq's dictionary object; None where there is neither."""
    text = checkpoint.get("output_labels")
    if isinstance(text, str):
        return vocabulary.from_dictionary_text(text, f"{source}: output_labels")
    task_state = checkpoint.get("task_state")
    dictionary = task_state.get("target_dictionary") if isinstance(task_state, Mapping) else None
    symbols = vars(dictionary).get("symbols") if isinstance(dictionary, Inert) else None
    if isinstance(symbols, list) and all(isinstance(symbol, str) for symbol in symbols):
        return tuple(symbols)
    return None


def export_fairseq(model: LoadedModel, path: Path) -> tuple[Path, ...]:
    """Write a `.pt` that fairseq loads (`cfg` form, as plain dicts) and, of a recogniser, its dictionary beside it.

    Returns:
        The files written.

    Raises:
        CheckpointError: When fairseq has no such network.
    """
    if model.spec.encoder.hourglass is not None:
        raise CheckpointError(
            f"{model.source}: fairseq has no Hourglass; export to nvidia, onnx or torch-export, which have"
        )
    state = _fairseq_state(model)
    text = _dictionary_text(model)
    content = {
        "args": None,
        "cfg": _cfg(model),
        "model": state,
        "optimizer_history": [
            {
                "criterion_name": "CtcCriterion" if model.kind == "ctc" else "Wav2vecCriterion",
                "optimizer_name": "MemoryEfficientFP16Optimizer",
                "lr_scheduler_state": {"best": None},
                "num_updates": 0,
            }
        ],
        "last_optimizer_state": None,
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}, "val_loss": None},
        "task_state": {},
    }
    return _write(content, path, text)


def export_nvidia(model: LoadedModel, path: Path) -> tuple[Path, ...]:
    """Write a `.pt` as the NVIDIA reference does, with or without Hourglass.

    Returns:
        The files written.
    """
    text = _dictionary_text(model)
    options = {"hourglass_transformer": None, **options_of(model.spec, model.loss)}
    if model.kind == "ctc":
        options |= {"mode": "finetune", "final_dropout": model.final_dropout}
    content = {
        "args": {"mode": "pretrain", **options},
        "model": _fairseq_state(model),
        "ema_model": None,
        "optimizer": None,
        "scaler": None,
        "train_state": {"step": 0, "epoch": 1, "best_val_wer": float("inf"), "best_val_loss": float("inf")},
    }
    return _write(content, path, text)


def _fairseq_state(model: LoadedModel) -> dict[str, Tensor]:
    spec, state = model.spec, dict(model.state)
    if spec.feature_encoder.channels == spec.encoder.dim:
        weight, bias = state.pop(f"{_PROJECTION}.weight"), state.pop(f"{_PROJECTION}.bias")
        if bias.any() or not torch.equal(weight, torch.eye(spec.encoder.dim)):
            raise CheckpointError(
                f"{model.source}: features and encoder are both {spec.encoder.dim} wide, and then fairseq has no "
                "projection between them, but this model has one; export to huggingface"
            )
    return to_fairseq(state)


def _dictionary_text(model: LoadedModel) -> str | None:
    return None if model.vocabulary is None else vocabulary.to_dictionary_text(model.vocabulary)


def _cfg(model: LoadedModel) -> dict[str, Any]:
    options = options_of(model.spec, model.loss)
    weights, normalize, rate = (options.pop(name) for name in ("loss_weights", "normalize", "sample_rate"))
    task = {"_name": "audio_pretraining", "data": "", "labels": None, "sample_rate": rate, "normalize": normalize}
    network = {"_name": "wav2vec2", **options}
    pretraining = {
        "model": network,
        "task": task,
        "criterion": {"_name": "wav2vec", "infonce": True, "loss_weights": weights},
    }
    if model.kind != "ctc":
        return pretraining
    spec = model.spec
    return {
        "model": {
            "_name": "wav2vec_ctc",
            "w2v_path": "",
            "w2v_args": pretraining,
            "normalize": normalize,
            "final_dropout": model.final_dropout,
            "layerdrop": spec.encoder.layer_drop,
            "apply_mask": spec.masking.probability > 0,
            **{name: options[name] for name in ("dropout", "attention_dropout", "activation_dropout", "dropout_input")},
            **{
                name: options[name]
                for name in options
                if name.startswith(("mask_", "no_mask_")) or name == "feature_grad_mult"
            },
        },
        "task": {**task, "_name": "audio_finetuning", "labels": "ltr"},
        "criterion": {"_name": "ctc", "zero_infinity": True},
    }


def _write(content: dict[str, Any], path: Path, text: str | None) -> tuple[Path, ...]:
    if text is not None:
        content["output_labels"] = text
    with new_file(path) as temporary:
        torch.save(content, temporary)
    if text is None:
        return (path,)
    beside = path.with_name(DICTIONARY)
    with new_file(beside) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path, beside
