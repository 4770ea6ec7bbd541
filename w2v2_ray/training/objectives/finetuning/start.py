"""Where a fine-tuning run begins: the network, the symbols and the initial weights, settled once by the driver."""

from __future__ import annotations

from typing import Any

import torch

from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.data.text import Tokenizer, build_vocabulary
from w2v2_ray.errors import SpecError
from w2v2_ray.model.factory import build_ctc_model
from w2v2_ray.model.interop.loaded_model import BACKBONE, LoadedModel
from w2v2_ray.model.interop.vocabulary import read_vocabulary
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.run.view import local_copy
from w2v2_ray.spec.finetune import FinetuneJob
from w2v2_ray.spec.model import MaskingSpec, ModelSpec
from w2v2_ray.spec.symbols import SPECIALS, WORD_DELIMITER
from w2v2_ray.spec.text import VocabularySpec
from w2v2_ray.training.model_source import load_any
from w2v2_ray.training.objectives.data import open_data
from w2v2_ray.training.objectives.initial import settle

_UNUSED = ("quantizer", "final_dim", "target_glu", "dropout_features")
"""Parts of a model's spec that a recogniser does not have."""


def resolve(job: FinetuneJob, run: RunFolder) -> FinetuneJob:
    """Settle what a run begins from, or read what an earlier launch settled. On the driver, once the run has a folder.

    Args:
        job: With absolute paths.
        run: Gets `initial/`, `vocabulary.json` and `start.json`.

    Returns:
        The job with its network, beginning from the run's own copy of the weights and symbols.

    Raises:
        CheckpointError: When the model cannot be read, or the run began from something else.
        SpecError: When the job contradicts the model or the vocabulary.
    """
    model = settle(run, _request(job), job.pretrained, lambda: initial_model(job))
    changes = {
        "model": model.spec,
        "pretrained": run.place_of(run.initial),
        "vocabulary": VocabularySpec(path=run.place_of(run.vocabulary)),
    }
    return job.model_copy(update=changes)


def initial_model(job: FinetuneJob) -> LoadedModel:
    """The recogniser before its first update: the pre-trained backbone, or random weights, and a new linear layer.

    The layer of a recogniser is kept when its symbols are the ones wanted.

    Raises:
        UserError: See `resolve`.
    """
    source = load_any(job.pretrained) if job.pretrained is not None else None
    if source is not None and job.model is not None:
        _refuse_contradiction(job, source)
    given = source.spec if source is not None else job.model
    assert given is not None  # a rule of the spec
    spec = with_settings(given, job)
    vocabulary = _vocabulary(job, source)
    Tokenizer(vocabulary, job.text)  # refuses symbols that the text cannot be written with
    _refuse_unspellable(job, vocabulary)
    torch.manual_seed(RandomStreams(job.seed).torch_seed(Purpose.WEIGHTS))
    model = build_ctc_model(spec, len(vocabulary), job.regularisation.final_dropout)
    state = dict(model.state_dict())
    if source is not None:
        keep_head = source.kind == "ctc" and source.vocabulary == vocabulary
        state |= {
            name: tensor
            for name, tensor in source.state.items()
            if name.startswith(BACKBONE) or (keep_head and name.startswith("head."))
        }
    return LoadedModel(spec, "ctc", state, vocabulary, None, job.regularisation.final_dropout)


def with_settings(spec: ModelSpec, job: FinetuneJob) -> ModelSpec:
    """A pre-trained network's spec with the job's masking, dropout and gradient scale."""
    settings = job.regularisation
    encoder = spec.encoder.model_copy(
        update={
            "dropout": settings.dropout,
            "attention_dropout": settings.attention_dropout,
            "activation_dropout": settings.activation_dropout,
            "layer_drop": settings.layer_drop,
        }
    )
    features = spec.feature_encoder.model_copy(update={"gradient_scale": settings.feature_gradient_scale})
    return spec.model_copy(
        update={
            "encoder": encoder,
            "feature_encoder": features,
            "masking": MaskingSpec.model_validate(job.masking.model_dump()),
            "dropout_input": settings.dropout_input,
        }
    )


def _refuse_contradiction(job: FinetuneJob, source: LoadedModel) -> None:
    assert job.model is not None
    wanted, there = (_flat(with_settings(spec, job).model_dump(mode="json")) for spec in (job.model, source.spec))
    differing = [name for name in sorted({*wanted, *there}) if wanted.get(name) != there.get(name)]
    differing = [name for name in differing if name.split(".")[0] not in _UNUSED]
    if differing:
        listed = "; ".join(f"model.{name}: {wanted.get(name)} against {there.get(name)}" for name in differing[:8])
        raise SpecError(
            f"model: contradicts pretrained: {job.pretrained} ({listed}); leave `model` out, the network is the "
            "checkpoint's"
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, child in value.items():
        flat |= _flat(child, f"{prefix}.{name}" if prefix else name)
    return flat


def _vocabulary(job: FinetuneJob, source: LoadedModel | None) -> tuple[str, ...]:
    """The one that is given, else that of the recogniser to begin from, else the characters of the transcripts."""
    given = job.vocabulary
    if given.path is not None:
        return read_vocabulary(local_copy(given.path))
    if given.symbols is not None:
        extra = tuple(symbol for symbol in given.symbols if symbol not in (*SPECIALS, WORD_DELIMITER))
        return (*SPECIALS, *extra) if job.text.units == "tokens" else (*SPECIALS, WORD_DELIMITER, *extra)
    if source is not None and source.vocabulary is not None:
        return source.vocabulary
    data = open_data(job, job.data.train)
    return build_vocabulary((data.transcript(index) for index in range(len(data))), job.text)


def _refuse_unspellable(job: FinetuneJob, vocabulary: tuple[str, ...]) -> None:
    """Characters that the text allows and given symbols cannot write would be lost in silence.

    Symbols taken from the transcripts are another matter: a rare letter that is allowed may not occur.
    """
    given = job.vocabulary.path is not None or job.vocabulary.symbols is not None
    unwritable = sorted({*(job.text.allowed or "")} - {*vocabulary, " ", WORD_DELIMITER})
    if given and unwritable:
        raise SpecError(
            f"text.allowed: {''.join(unwritable)!r} cannot be written with the symbols of vocabulary; add them there, "
            "or take them out of text.allowed"
        )


def _request(job: FinetuneJob) -> dict[str, Any]:
    """What a job asks to begin from."""
    wanted = {"pretrained", "model", "vocabulary", "text", "masking", "regularisation", "seed"}
    # Runs begun before there were some of these fields have none.
    unsaid = job.unsaid()
    request: dict[str, Any] = job.model_dump(
        mode="json", include=wanted, exclude={name: unsaid[name] for name in wanted & unsaid.keys()}
    )
    if not job.regularisation.consistency:
        del request["regularisation"]["consistency"]
    if job.text.units == "letters":
        del request["text"]["units"]
    return request
