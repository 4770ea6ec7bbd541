"""A model as it comes out of a file: spec, weights under our names, vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.backbone import Wav2Vec2Backbone
from w2v2_ray.model.ctc import Wav2Vec2CtcModel
from w2v2_ray.model.factory import build_backbone, build_ctc_model, build_pretrain_model
from w2v2_ray.model.interop.vocabulary import check_symbols
from w2v2_ray.model.pretraining import Wav2Vec2PretrainModel
from w2v2_ray.spec.model import ContrastiveLossSpec, ModelSpec

ModelKind = Literal["pretrain", "ctc", "backbone"]
"""`pretrain`: with quantizer and projections; `ctc`: a recogniser; `backbone`: what the two share, nothing else."""

BACKBONE = "backbone."
MASK_EMBEDDING = "backbone.input_masking.embedding"
HEAD_WEIGHT = "head.weight"
_NAMES_SHOWN = 8


@dataclass(frozen=True)
class LoadedModel:
    """A checked model: its weights are finite and fit its spec.

    Make one with `check_model`, which is what does the checking.
    """

    spec: ModelSpec
    """The network."""
    kind: ModelKind
    """Which of the three models the weights are."""
    state: dict[str, Tensor]
    """fp32 weights by our names; those of a `backbone` too begin with `backbone.`."""
    vocabulary: tuple[str, ...] | None = None
    """Of a recogniser: the symbol of each output, the blank first; None where its file does not say."""
    loss: ContrastiveLossSpec | None = None
    """Of a pre-training model: the objective it was trained with, where its file says."""
    final_dropout: float = 0.0
    """Of a recogniser: dropout before the head."""
    source: str = ""
    """Where it came from, for messages."""
    notes: tuple[str, ...] = field(default=())
    """What was assumed or left out on the way; worth telling the user."""

    @property
    def num_parameters(self) -> int:
        """Elements of all weights."""
        return sum(tensor.numel() for tensor in self.state.values())

    def build(self) -> Wav2Vec2PretrainModel | Wav2Vec2CtcModel | Wav2Vec2Backbone:
        """Build the network with these weights, in eval mode. It shares its parameters' memory with `state`."""
        model = build_empty(self.spec, self.kind, self.vocab_size, self.loss, self.final_dropout)
        state = self.state
        if self.kind == "backbone":
            state = {name.removeprefix(BACKBONE): tensor for name, tensor in state.items()}
        model.load_state_dict(state, assign=True)
        return model.eval()

    @property
    def vocab_size(self) -> int | None:
        """Outputs of a recogniser; None of other kinds."""
        return self.state[HEAD_WEIGHT].shape[0] if self.kind == "ctc" else None

    def with_notes(self, *notes: str) -> LoadedModel:
        """The same with more to tell the user."""
        return replace(self, notes=(*self.notes, *notes))


def build_empty(
    spec: ModelSpec,
    kind: ModelKind,
    vocab_size: int | None = None,
    loss: ContrastiveLossSpec | None = None,
    final_dropout: float = 0.0,
) -> Wav2Vec2PretrainModel | Wav2Vec2CtcModel | Wav2Vec2Backbone:
    """Build a network whose parameters have shapes and no memory."""
    with torch.device("meta"):
        if kind == "ctc":
            return build_ctc_model(spec, vocab_size or 1, final_dropout)
        if kind == "pretrain":
            return build_pretrain_model(spec, loss)
        return build_backbone(spec)


def expected_shapes(spec: ModelSpec, kind: ModelKind, vocab_size: int | None = None) -> dict[str, tuple[int, ...]]:
    """Shape of every weight by name, as `LoadedModel.state` has them."""
    model: nn.Module = build_empty(spec, kind, vocab_size)
    prefix = BACKBONE if kind == "backbone" else ""
    return {prefix + name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def kind_of(state: Mapping[str, Tensor]) -> ModelKind:
    """Tell which model weights under our names are."""
    if HEAD_WEIGHT in state:
        return "ctc"
    return "pretrain" if any(name.startswith("quantizer.") for name in state) else "backbone"


def check_model(model: LoadedModel) -> LoadedModel:
    """Return the model with fp32 weights, in our order, once names, shapes, values and vocabulary are right.

    Raises:
        CheckpointError: Listing every missing and unexpected name, other shape and non-finite weight, eight of each.
    """
    shapes = expected_shapes(model.spec, model.kind, model.vocab_size)
    state = model.state
    found = [
        ("missing", [name for name in shapes if name not in state]),
        ("unexpected", [name for name in state if name not in shapes]),
        (
            "of another shape",
            [
                f"{name} {list(state[name].shape)} instead of {list(shape)}"
                for name, shape in shapes.items()
                if name in state and tuple(state[name].shape) != shape
            ],
        ),
        ("not floating point", [name for name in shapes if name in state and not state[name].is_floating_point()]),
    ]
    listed = [f"{what}: {list_some(names)}" for what, names in found if names]
    if listed:
        raise CheckpointError(
            f"{model.source}: its weights do not fit the {model.kind} model that its description makes "
            f"({'; '.join(listed)}); is it a wav2vec 2.0 checkpoint, and whole?"
        )
    bad = [name for name in shapes if not torch.isfinite(state[name]).all()]
    if bad:
        raise CheckpointError(
            f"{model.source}: NaN or infinite weights in {list_some(bad)}; the training that wrote them had diverged: "
            "use an earlier checkpoint"
        )
    _check_vocabulary(model)
    ordered = {name: state[name].detach().to(torch.float32).contiguous() for name in shapes}
    return replace(model, state=ordered)


def _check_vocabulary(model: LoadedModel) -> None:
    vocabulary = model.vocabulary
    if vocabulary is None:
        return
    if model.kind != "ctc":
        raise CheckpointError(f"{model.source}: a vocabulary was given for a {model.kind} model, which has no outputs")
    check_symbols(vocabulary, model.source)
    if len(vocabulary) != model.vocab_size:
        raise CheckpointError(
            f"{model.source}: {len(vocabulary)} symbols for {model.vocab_size} outputs; "
            "give the vocabulary that the model was fine-tuned with"
        )
    twice = sorted({symbol for symbol in vocabulary if vocabulary.count(symbol) > 1})
    if twice:
        raise CheckpointError(
            f"{model.source}: symbols more than once in the vocabulary: {list_some(map(repr, twice))}"
        )


def list_some(names: Iterable[str]) -> str:
    """The first eight, and how many more there are."""
    names = list(names)
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
