"""State-dict names of fairseq and the NVIDIA reference, to ours and back.

The three differ in names, in query, key and value (three matrices there, one fused here) and in the codebook's
shape ([1, G·V, d] there, [G, V, d] here). Everything else is the same tensor. NVIDIA's additions: Hourglass layers,
and other names inside a feature extractor that masks its norms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from w2v2_ray.model.interop import projections

_FINETUNED_BACKBONE = "w2v_encoder.w2v_model."
_FINETUNED_HEAD = "w2v_encoder.proj."

_TOP_LEVEL = {
    "feature_norm": "layer_norm",
    "input_proj": "post_extract_proj",
    "encoder.layer_norm": "encoder.layer_norm",
    "encoder.stack.shorten.linear": "encoder.downsample_layer.linear",
    "encoder.stack.upsample.linear": "encoder.upsample_layer.linear",
}
"""Modules of the backbone that have a weight and a bias under both names."""

_HEADS = {
    "target_proj": "project_q",
    "target_glu": "target_glu.0",
    "context_proj": "final_proj",
    "quantizer.logits_proj": "quantizer.weight_proj",
}
"""Modules of the pre-training model outside the backbone."""

_SINGLE = {
    "input_masking.embedding": "mask_emb",
    "encoder.pos_conv.bias": "encoder.pos_conv.0.bias",
    "encoder.pos_conv.weight_g": "encoder.pos_conv.0.weight_g",
    "encoder.pos_conv.weight_v": "encoder.pos_conv.0.weight_v",
}
"""Single tensors of the backbone."""

_WEIGHT_NORM = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
"""torch's newer names of a weight norm's two tensors, to the older ones."""

_STACKS = {"stack.pre": "layers", "stack.middle": "hourglass_layers", "stack.post": "post_layers"}

_LAYER = {
    "attention.out_proj": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "ffn_in": "fc1",
    "ffn_out": "fc2",
    "ffn_norm": "final_layer_norm",
}
"""Modules of a Transformer layer, the fused projection apart."""

_OUR_CODE_LAYER = re.compile(r"quantizer\.hidden\.(\d+)")
_THEIR_CODE_LAYER = re.compile(r"quantizer\.weight_proj\.(\d+)(\.0)?")
"""Modules of a quantizer of more than one layer: all but the last have a sequence around them."""

_OUR_BLOCK = re.compile(r"feature_encoder\.blocks\.(\d+)\.(conv|norm)\.(weight|bias)")
_THEIR_BLOCK = re.compile(
    r"feature_extractor\.conv_layers\.(\d+)\.(0|conv|2|norm)\.(?:(?:1|_group_norm)\.)?(weight|bias)"
)
_OUR_LAYER = re.compile(r"encoder\.(stack(?:\.pre|\.middle|\.post)?)\.layers\.(\d+)\.(.+)\.(weight|bias)")
_THEIR_LAYER = re.compile(r"encoder\.(layers|hourglass_layers|post_layers)\.(\d+)\.(.+)\.(weight|bias)")


def from_fairseq(state: Mapping[str, Tensor], *, num_codebooks: int | None = None) -> dict[str, Tensor]:
    """Translate a fairseq or NVIDIA state dict into ours.

    Pre-trained and fine-tuned names, with and without Hourglass, plain and masked feature extractors, and both
    namings of weight norm are recognised. Tensors keep their dtype and, but for query, key and value, their storage.

    Args:
        state: Their names to tensors.
        num_codebooks: G; needed where there is a quantiser.

    Returns:
        Our names to tensors. A name that means nothing to us is kept as it is, for `load_state_dict` to report.

    Raises:
        ValueError: If there is a codebook and G is not given or does not fit it, or a part of a query, key and value
            triple is missing.
    """
    hourglass = any(".hourglass_layers." in name or ".post_layers." in name for name in state)
    result = projections.fuse((_to_our_name(name, hourglass), tensor) for name, tensor in state.items())
    codebook = result.pop("quantizer.vars", None)
    if codebook is not None:
        result["quantizer.codebook"] = projections.split_codebook("quantizer.vars", codebook, num_codebooks)
    return result


def to_fairseq(state: Mapping[str, Tensor], *, masked_extractor: bool = False) -> dict[str, Tensor]:
    """Translate our state dict into fairseq's names (NVIDIA's, where there is an Hourglass).

    A state dict with a CTC head gets the names of a fine-tuned model.

    Args:
        state: Our names to tensors.
        masked_extractor: Use the names of NVIDIA's masked feature extractor.

    Returns:
        Their names to tensors. A name that is not ours is kept as it is.
    """
    layer_norm = any(re.fullmatch(r"backbone\.feature_encoder\.blocks\.1\.norm\.weight", name) for name in state)
    finetuned = any(name.startswith("head.") for name in state)
    prefix = _FINETUNED_BACKBONE if finetuned else ""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name == "quantizer.codebook":
            result["quantizer.vars"] = projections.join_codebook(tensor)
        elif name.startswith("head."):
            result[_FINETUNED_HEAD + name.removeprefix("head.")] = tensor
        elif name.startswith("backbone."):
            theirs = _to_their_backbone_name(name.removeprefix("backbone."), layer_norm, masked_extractor)
            result[prefix + theirs] = tensor
        else:
            module, _, leaf = name.rpartition(".")
            result[f"{_to_their_head(module, state)}.{leaf}" if module else name] = tensor
    return projections.split(result)


def _to_their_head(module: str, state: Mapping[str, Tensor]) -> str:
    if match := _OUR_CODE_LAYER.fullmatch(module):
        return f"quantizer.weight_proj.{match[1]}.0"
    depth = sum(_OUR_CODE_LAYER.fullmatch(name.removesuffix(".weight")) is not None for name in state)
    if module == "quantizer.logits_proj" and depth:
        return f"quantizer.weight_proj.{depth}"
    return _HEADS.get(module, module)


def _to_our_name(name: str, hourglass: bool) -> str:
    if name.startswith(_FINETUNED_HEAD):
        return "head." + name.removeprefix(_FINETUNED_HEAD)
    bare = name.removeprefix(_FINETUNED_BACKBONE)
    module, _, leaf = bare.rpartition(".")
    heads = {theirs: ours for ours, theirs in _HEADS.items()}
    if module in heads:
        return f"{heads[module]}.{leaf}"
    if match := _THEIR_CODE_LAYER.fullmatch(module):
        return f"quantizer.hidden.{match[1]}.{leaf}" if match[2] else f"quantizer.logits_proj.{leaf}"
    ours = _to_our_backbone_name(bare, hourglass)
    return name if ours is None else f"backbone.{ours}"


def _to_our_backbone_name(name: str, hourglass: bool) -> str | None:
    for new, old in _WEIGHT_NORM.items():
        name = name.replace(new, old)
    if match := _THEIR_BLOCK.fullmatch(name):
        index, part, leaf = match.groups()
        return f"feature_encoder.blocks.{index}.{'conv' if part in ('0', 'conv') else 'norm'}.{leaf}"
    if match := _THEIR_LAYER.fullmatch(name):
        stack, index, module, leaf = match.groups()
        stacks = {theirs: ours for ours, theirs in _STACKS.items()}
        ours_stack = stacks[stack] if hourglass else "stack"
        modules = {theirs: ours for ours, theirs in _LAYER.items()} | {
            f"self_attn.{p}": f"attention.{p}" for p in projections.PARTS
        }
        return f"encoder.{ours_stack}.layers.{index}.{modules[module]}.{leaf}" if module in modules else None
    for ours, theirs in _SINGLE.items():
        if name == theirs:
            return ours
    module, _, leaf = name.rpartition(".")
    for ours, theirs in _TOP_LEVEL.items():
        if module == theirs:
            return f"{ours}.{leaf}"
    return None


def _to_their_backbone_name(name: str, layer_norm: bool, masked_extractor: bool) -> str:
    if name in _SINGLE:
        return _SINGLE[name]
    if match := _OUR_BLOCK.fullmatch(name):
        index, part, leaf = match.groups()
        if part == "conv":
            theirs = "conv" if masked_extractor else "0"
        elif masked_extractor:
            theirs = "norm.1" if layer_norm else "norm._group_norm"
        else:
            theirs = "2.1" if layer_norm else "2"
        return f"feature_extractor.conv_layers.{index}.{theirs}.{leaf}"
    if match := _OUR_LAYER.fullmatch(name):
        stack, index, module, leaf = match.groups()
        theirs = "self_attn.qkv" if module == "attention.qkv" else _LAYER.get(module, module)
        return f"encoder.{_STACKS.get(stack, 'layers')}.{index}.{theirs}.{leaf}"
    module, _, leaf = name.rpartition(".")
    return f"{_TOP_LEVEL.get(module, module)}.{leaf}"
