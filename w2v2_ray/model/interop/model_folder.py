"""Our own format: a folder with `model.safetensors`, `spec.yaml` and, of a recogniser, `vocab.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from torch import Tensor

from w2v2_ray.errors import CheckpointError, SpecError
from w2v2_ray.model.interop import vocabulary
from w2v2_ray.model.interop.loaded_model import LoadedModel, ModelKind, check_model
from w2v2_ray.model.interop.weights_file import read_safetensors, write_safetensors
from w2v2_ray.places.new_files import new_folder
from w2v2_ray.spec.base import DropProbability, Spec
from w2v2_ray.spec.document import parse_yaml
from w2v2_ray.spec.loading import dump_yaml
from w2v2_ray.spec.model import ContrastiveLossSpec, ModelSpec

WEIGHTS = "model.safetensors"
SPEC = "spec.yaml"
VOCABULARY = "vocab.json"
FORMAT: Literal["w2v2-ray model"] = "w2v2-ray model"
FORMAT_VERSION = 1


class ModelDocument(Spec):
    """What `spec.yaml` of a model folder says."""

    format: Literal["w2v2-ray model"] = FORMAT
    """Tells it from a job spec."""
    version: int = Field(default=FORMAT_VERSION, ge=1)
    """Of the folder's layout."""
    kind: ModelKind
    """Which weights are in it: `pretrain`, `ctc` or `backbone`."""
    final_dropout: DropProbability = 0.0
    """Of a recogniser: dropout before the head."""
    loss: ContrastiveLossSpec | None = None
    """Of a pre-training model: its objective, where it is known."""
    model: ModelSpec
    """The network: sample rate and normalisation of the waveform included."""


def is_model_folder(path: Path) -> bool:
    """Whether a path looks like a folder that `save_model` wrote."""
    return (path / SPEC).is_file() and (path / WEIGHTS).is_file()


def save_model(
    folder: Path,
    spec: ModelSpec,
    kind: ModelKind,
    state: dict[str, Tensor],
    vocab: tuple[str, ...] | None = None,
    *,
    loss: ContrastiveLossSpec | None = None,
    final_dropout: float = 0.0,
) -> tuple[Path, ...]:
    """Write a model folder, whole or not at all. An older model folder of that name is replaced.

    Args:
        folder: Where.
        spec: The network.
        kind: Which model the weights are.
        state: Weights by our names; those of a `backbone` too begin with `backbone.`.
        vocab: Symbols of a recogniser's outputs, the blank first.
        loss: Objective of a pre-training model.
        final_dropout: Of a recogniser.

    Returns:
        The files written.

    Raises:
        CheckpointError: When the weights do not fit the spec, or are not finite.
        StorageError: When the folder cannot be written or holds something else.
    """
    model = LoadedModel(spec, kind, dict(state), vocab, loss, final_dropout, source=f"model for {folder}")
    return write_model(check_model(model), folder)


def write_model(model: LoadedModel, folder: Path) -> tuple[Path, ...]:
    """Write a checked model; see `save_model`."""
    document = ModelDocument(
        kind=model.kind, final_dropout=model.final_dropout, loss=model.loss, model=model.spec
    ).model_dump(mode="json")
    names = [SPEC, WEIGHTS]
    with new_folder(folder, replaces=(WEIGHTS,)) as temporary:
        (temporary / SPEC).write_text(dump_yaml(document), encoding="utf-8")
        write_safetensors(temporary / WEIGHTS, model.state)
        if model.vocabulary is not None:
            names.append(VOCABULARY)
            text = json.dumps(list(model.vocabulary), ensure_ascii=False, indent=0)
            (temporary / VOCABULARY).write_text(text + "\n", encoding="utf-8")
    return tuple(folder / name for name in names)


def load_model(folder: Path) -> LoadedModel:
    """Read a model folder.

    Raises:
        CheckpointError: When a part is missing, damaged, of a newer format, or does not fit the others.
    """
    for name in (SPEC, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: not a model folder: no {name} in it")
    document = _read_document(folder / SPEC)
    vocab = vocabulary.read_vocabulary(folder / VOCABULARY) if (folder / VOCABULARY).exists() else None
    return check_model(
        LoadedModel(
            spec=document.model,
            kind=document.kind,
            state=read_safetensors(folder / WEIGHTS),
            vocabulary=vocab,
            loss=document.loss,
            final_dropout=document.final_dropout,
            source=str(folder),
        )
    )


def _read_document(path: Path) -> ModelDocument:
    try:
        content: Any = parse_yaml(vocabulary.read_small_text(path), str(path)).plain()
    except SpecError as error:
        raise CheckpointError(error.message) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not the description of a model; was the folder made by `w2v2-ray import`?")
    version = content.get("version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: a model of format {version}, this release reads up to {FORMAT_VERSION}; upgrade w2v2-ray"
        )
    try:
        return ModelDocument.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path}: {where}: {first['msg']}") from None
