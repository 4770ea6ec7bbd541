"""The model spec that weights imply: what shapes say, and hints for what they cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.loaded_model import list_some
from w2v2_ray.spec.model import ModelSpec

_STANDARD_KERNELS = (10, 3, 3, 3, 3, 2, 2)
_STANDARD_STRIDES = (5, 2, 2, 2, 2, 2, 2)
_STANDARD_HEAD_DIM = 64
_LAYER_LIMIT = 1000


@dataclass
class Hints:
    """What a description beside the weights says."""

    spec: dict[str, Any] = field(default_factory=dict)
    """Fields of `ModelSpec`, nested as there; only those that were said. What shapes say too must agree."""
    strides: tuple[int, ...] | None = None
    """Of the convolutions."""
    source: str = ""
    """For messages."""


def infer_spec(state: Mapping[str, Tensor], hints: Hints) -> tuple[ModelSpec, tuple[str, ...]]:
    """Make the spec that weights under our names belong to.

    Shapes give everything but strides, heads, the place of the layer norms, the factor of an Hourglass that has no
    parameters of its own, and whatever matters in training only. Those come from the hints, or else from what all
    published wav2vec 2.0 models have in common, which the notes then say.

    Returns:
        The spec, and notes on what was assumed.

    Raises:
        CheckpointError: When this is no wav2vec 2.0 model, or the hints contradict the weights.
    """
    notes: list[str] = []
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    facts = {"feature_encoder": _feature_encoder(shapes, hints, notes), "encoder": _encoder(shapes, hints, notes)}
    facts |= _quantizer(shapes)
    _check_agreement(facts, hints)
    document = _merged(hints.spec, facts)
    try:
        return ModelSpec.model_validate(document), tuple(notes)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{hints.source}: no model of this kind: {where} {first['msg']}") from None


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str, dims: int, hints: Hints) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        raise CheckpointError(
            f"{hints.source}: not a wav2vec 2.0 checkpoint: nothing in it is {name}; its names are "
            f"{list_some(shapes) or 'none'}"
        )
    if len(shape) != dims or 0 in shape:
        raise CheckpointError(f"{hints.source}: {name} has shape {list(shape)}; {dims} dimensions were expected")
    return shape


def _feature_encoder(shapes: Mapping[str, tuple[int, ...]], hints: Hints, notes: list[str]) -> dict[str, Any]:
    blocks = "backbone.feature_encoder.blocks"
    _shape(shapes, f"{blocks}.0.conv.weight", 3, hints)
    convs = [
        _shape(shapes, f"{blocks}.{index}.conv.weight", 3, hints)
        for index in range(_count(shapes, blocks + ".{}.conv.weight"))
    ]
    kernels = tuple(shape[2] for shape in convs)
    strides = hints.strides
    if strides is None and kernels == _STANDARD_KERNELS:
        strides = _STANDARD_STRIDES
        notes.append(f"strides of the convolutions assumed: {list(strides)}, as in all published models")
    if strides is None or len(strides) != len(kernels):
        raise CheckpointError(
            f"{hints.source}: the strides of {len(kernels)} convolutions with kernels {list(kernels)} are not said "
            f"(found {None if strides is None else list(strides)}) and cannot be read off weights; import it from a "
            "form that has a configuration"
        )
    deep = f"{blocks}.1.norm.weight" in shapes
    norm = "layer_norm" if deep else "group_norm"
    if len(convs) == 1:  # one norm, so its name does not tell which
        norm = hints.spec.get("feature_encoder", {}).get("norm", norm)
    return {
        "conv_layers": [[shape[0], shape[2], stride] for shape, stride in zip(convs, strides, strict=True)],
        "norm": norm,
        "bias": f"{blocks}.0.conv.bias" in shapes,
    }


def _encoder(shapes: Mapping[str, tuple[int, ...]], hints: Hints, notes: list[str]) -> dict[str, Any]:
    said = hints.spec.get("encoder", {})
    dim = _shape(shapes, "backbone.input_proj.weight", 2, hints)[0]
    position = _shape(shapes, "backbone.encoder.pos_conv.weight_v", 3, hints)
    stack = "backbone.encoder.stack"
    plain = _count(shapes, stack + ".layers.{}.ffn_in.weight")
    first = f"{stack}.layers.0" if plain else f"{stack}.pre.layers.0"
    facts: dict[str, Any] = {
        "dim": dim,
        "ffn_dim": _shape(shapes, f"{first}.ffn_in.weight", 2, hints)[0],
        "position_kernel": position[2],
        "position_groups": max(1, dim // position[1]),
        "layers": plain,
        "hourglass": None,
    }
    if not plain:
        facts["hourglass"] = hourglass = _hourglass(shapes, hints)
        facts["layers"] = sum(hourglass[part] for part in ("pre_layers", "middle_layers", "post_layers"))
    if "heads" not in said:
        facts["heads"] = max(1, dim // _STANDARD_HEAD_DIM)
        notes.append(f"{facts['heads']} attention heads assumed: {_STANDARD_HEAD_DIM} dimensions each, as published")
    if "norm_first" not in said:
        facts["norm_first"] = plain > 0 and "backbone.feature_encoder.blocks.1.norm.weight" in shapes
        notes.append(f"norm_first: {str(facts['norm_first']).lower()} assumed from the norms of the feature encoder")
    return facts


def _hourglass(shapes: Mapping[str, tuple[int, ...]], hints: Hints) -> dict[str, Any]:
    stack = "backbone.encoder.stack"
    facts: dict[str, Any] = {
        f"{part}_layers": _count(shapes, f"{stack}.{part}.layers.{{}}.ffn_in.weight")
        for part in ("pre", "middle", "post")
    }
    linear = shapes.get(f"{stack}.shorten.linear.weight")
    facts["resample"] = "naive" if linear is None else "linear"
    if linear is not None:
        facts["shorten_factor"] = linear[-1] // linear[0]
    elif "shorten_factor" not in (hints.spec.get("encoder", {}).get("hourglass") or {}):
        raise CheckpointError(
            f"{hints.source}: an Hourglass without parameters of its own, and nothing says by how much it shortens; "
            "keep the checkpoint's `args` (hourglass_transformer) beside its weights"
        )
    return facts


def _quantizer(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    codebook, targets = shapes.get("quantizer.codebook"), shapes.get("target_proj.weight")
    if codebook is None or targets is None or len(codebook) != 3 or len(targets) != 2:
        return {}
    final_dim, code_dim = targets
    quantizer: dict[str, Any] = {"codebooks": codebook[0], "entries": codebook[1]}
    if code_dim != final_dim:
        quantizer["dim"] = code_dim
    quantizer["depth"] = _count(shapes, "quantizer.hidden.{}.weight") + 1
    first = shapes.get("quantizer.hidden.0.weight")
    if first is not None and len(first) == 2 and first[1]:
        quantizer["factor"] = first[0] // first[1]
    return {"quantizer": quantizer, "final_dim": final_dim, "target_glu": "target_glu.weight" in shapes}


def count_codebooks(codebook: Tensor | None, targets: Tensor | None) -> int | None:
    """G, from the shapes of a codebook [1, G·V, d] and of the projection of targets [F, G·d]; None if it is not said.

    The two say it: the projection's input is G concatenated entries of d.
    """
    if codebook is None or targets is None or codebook.ndim != 3 or targets.ndim != 2 or codebook.shape[2] == 0:
        return None
    return targets.shape[1] // codebook.shape[2] or None


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    """How many of `pattern` with 0, 1, 2, ... there are without a gap; a gap is reported by the names that follow."""
    count = 0
    while count < _LAYER_LIMIT and pattern.format(count) in shapes:
        count += 1
    return count


def _check_agreement(facts: Mapping[str, Any], hints: Hints) -> None:
    differing = list(_differences(facts, hints.spec, ""))
    if differing:
        raise CheckpointError(
            f"{hints.source}: its configuration and its weights contradict each other: {list_some(differing)}; "
            "they are not of the same model"
        )


def _differences(facts: Any, said: Any, path: str) -> Any:
    if isinstance(facts, Mapping) and isinstance(said, Mapping):
        for key, value in said.items():
            if key in facts:
                yield from _differences(facts[key], value, f"{path}.{key}" if path else key)
    elif _plain(facts) != _plain(said):
        yield f"{path} {said} said, {facts} found"


def _plain(value: Any) -> Any:
    return [_plain(child) for child in value] if isinstance(value, (list, tuple)) else value


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Nested update; the upper one wins."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged
