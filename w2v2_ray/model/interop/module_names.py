"""State-dict names of Hugging Face and torchaudio, to ours and back.

The two name the network's parts alike and put them under different modules. As in fairseq, query, key and value are
three matrices and codebooks lie one below the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from w2v2_ray.model.interop import projections

_LAYER = {
    "attention.out_proj": "attention.out_proj",
    "attention_norm": "layer_norm",
    "ffn_in": "feed_forward.intermediate_dense",
    "ffn_out": "feed_forward.output_dense",
    "ffn_norm": "final_layer_norm",
}
"""Modules of a Transformer layer, ours to theirs, the fused projection apart."""

_OLD_WEIGHT_NORM = {"weight_g": "weight_g", "weight_v": "weight_v"}
_NEW_WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
_OUR_BLOCK = re.compile(r"feature_encoder\.blocks\.(\d+)\.(conv|norm)\.(weight|bias)")
_THEIR_BLOCK = re.compile(r"feature_extractor\.conv_layers\.(\d+)\.(conv|layer_norm)\.(weight|bias)")
_OUR_LAYER = re.compile(r"encoder\.stack\.layers\.(\d+)\.(.+)\.(weight|bias)")


@dataclass(frozen=True)
class Naming:
    """Where a library puts things."""

    base: str
    """Before the names of the backbone, when there is a head beside it."""
    projection: str
    """The norm of the features and their projection."""
    transformer: str
    """The Transformer encoder."""
    mask_embedding: str | None
    """The mask embedding, if the library has one."""
    heads: Mapping[str, str]
    """Modules outside the backbone, ours to theirs."""
    codebook: str | None = None
    """The codebook, if the library has one."""


HUGGINGFACE = Naming(
    base="wav2vec2.",
    projection="feature_projection",
    transformer="encoder",
    mask_embedding="masked_spec_embed",
    heads={
        "head": "lm_head",
        "target_proj": "project_q",
        "context_proj": "project_hid",
        "quantizer.logits_proj": "quantizer.weight_proj",
    },
    codebook="quantizer.codevectors",
)
"""`Wav2Vec2ForPreTraining`, `Wav2Vec2ForCTC` and `Wav2Vec2Model` of transformers."""

TORCHAUDIO = Naming(
    base="",
    projection="encoder.feature_projection",
    transformer="encoder.transformer",
    mask_embedding=None,
    heads={"head": "aux"},
)
"""`torchaudio.models.Wav2Vec2Model`."""


def from_modules(state: Mapping[str, Tensor], naming: Naming, num_codebooks: int | None = None) -> dict[str, Tensor]:
    """Translate a library's state dict into ours; both namings of weight norm are recognised.

    Returns:
        Our names to tensors. A name that means nothing to us is kept as it is, for the check to report.

    Raises:
        ValueError: If a part of a query, key and value triple is missing, or G does not fit the codebook.
    """
    result = projections.fuse((_to_ours(name, naming), tensor) for name, tensor in state.items())
    codebook = result.pop(naming.codebook, None) if naming.codebook else None
    if codebook is not None:
        result["quantizer.codebook"] = projections.split_codebook(str(naming.codebook), codebook, num_codebooks)
    return result


def to_modules(state: Mapping[str, Tensor], naming: Naming, *, with_base: bool = True) -> dict[str, Tensor]:
    """Translate our state dict into a library's, with the newer names of weight norm.

    Args:
        state: Ours, without Hourglass.
        naming: The library.
        with_base: Whether names of the backbone get the library's prefix.

    Returns:
        Their names to tensors; what the library has no place for is left out.
    """
    base = naming.base if with_base else ""
    result: dict[str, Tensor] = {}
    for name, tensor in projections.split(state).items():
        module, _, leaf = name.rpartition(".")
        if name.startswith("backbone."):
            theirs = _backbone_to_theirs(name.removeprefix("backbone."), naming)
            if theirs is not None:
                result[base + theirs] = tensor
        elif name == "quantizer.codebook":
            if naming.codebook:
                result[naming.codebook] = projections.join_codebook(tensor)
        elif module in naming.heads:
            result[f"{naming.heads[module]}.{leaf}"] = tensor
    return result


def _single_names(naming: Naming) -> dict[str, str]:
    """Modules and tensors of the backbone outside blocks and layers, ours to theirs."""
    names = {
        f"{ours}.{leaf}": f"{theirs}.{leaf}"
        for ours, theirs in (
            ("feature_norm", f"{naming.projection}.layer_norm"),
            ("input_proj", f"{naming.projection}.projection"),
            ("encoder.layer_norm", f"{naming.transformer}.layer_norm"),
        )
        for leaf in ("weight", "bias")
    }
    conv = f"{naming.transformer}.pos_conv_embed.conv"
    names |= {f"encoder.pos_conv.{ours}": f"{conv}.{theirs}" for ours, theirs in _NEW_WEIGHT_NORM.items()}
    names["encoder.pos_conv.bias"] = f"{conv}.bias"
    if naming.mask_embedding:
        names["input_masking.embedding"] = naming.mask_embedding
    return names


def _backbone_to_theirs(name: str, naming: Naming) -> str | None:
    if match := _OUR_BLOCK.fullmatch(name):
        index, part, leaf = match.groups()
        return f"feature_extractor.conv_layers.{index}.{'conv' if part == 'conv' else 'layer_norm'}.{leaf}"
    if match := _OUR_LAYER.fullmatch(name):
        index, module, leaf = match.groups()
        return f"{naming.transformer}.layers.{index}.{_LAYER.get(module, module)}.{leaf}"
    return _single_names(naming).get(name)


def _to_ours(name: str, naming: Naming) -> str:
    module, _, leaf = name.rpartition(".")
    heads = {theirs: ours for ours, theirs in naming.heads.items()}
    if module in heads:
        return f"{heads[module]}.{leaf}"
    ours = _backbone_to_ours(name.removeprefix(naming.base), naming)
    return name if ours is None else f"backbone.{ours}"


def _backbone_to_ours(name: str, naming: Naming) -> str | None:
    if match := _THEIR_BLOCK.fullmatch(name):
        index, part, leaf = match.groups()
        return f"feature_encoder.blocks.{index}.{'conv' if part == 'conv' else 'norm'}.{leaf}"
    layer = re.fullmatch(rf"{re.escape(naming.transformer)}\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if layer:
        index, module, leaf = layer.groups()
        modules = {theirs: ours for ours, theirs in _LAYER.items()} | {
            f"attention.{part}": f"attention.{part}" for part in projections.PARTS
        }
        return f"encoder.stack.layers.{index}.{modules[module]}.{leaf}" if module in modules else None
    for old, new in zip(_OLD_WEIGHT_NORM.values(), _NEW_WEIGHT_NORM.values(), strict=True):
        name = name.replace(f".pos_conv_embed.conv.{old}", f".pos_conv_embed.conv.{new}")
    return {theirs: ours for ours, theirs in _single_names(naming).items()}.get(name)
