"""Random models for the tests of interop: no weight is 0 or 1, so that a tensor in a wrong place is noticed."""

from __future__ import annotations

from typing import Any

import torch

from w2v2_ray.model.interop.loaded_model import BACKBONE, LoadedModel, ModelKind, check_model, expected_shapes
from w2v2_ray.spec.model import ModelSpec

VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "|", "E", "T", "A", "'", "É", "'S")
HOURGLASS = {"pre_layers": 1, "middle_layers": 2, "post_layers": 1, "shorten_factor": 3}
LINEAR = HOURGLASS | {"resample": "linear"}


def small_spec(*, large: bool = False, hourglass: dict[str, Any] | None = None, **changes: Any) -> ModelSpec:
    norm = "layer_norm" if large else "group_norm"
    convs = [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2]
    encoder = {"layers": 4, "dim": 24, "ffn_dim": 40, "heads": 4, "position_kernel": 16, "position_groups": 4}
    document = {
        "feature_encoder": {"conv_layers": convs, "norm": norm, "bias": large},
        "encoder": encoder | {"norm_first": large, "hourglass": hourglass},
        "quantizer": {"entries": 12},
        "final_dim": 20,
        "normalize_waveform": large,
    }
    return ModelSpec.model_validate(document | changes)


def random_model(
    kind: ModelKind = "ctc",
    *,
    large: bool = False,
    hourglass: dict[str, Any] | None = None,
    vocabulary: tuple[str, ...] | None = VOCABULARY,
    seed: int = 0,
    **changes: Any,
) -> LoadedModel:
    spec = small_spec(large=large, hourglass=hourglass, **changes)
    vocab = vocabulary if kind == "ctc" else None
    generator = torch.Generator().manual_seed(seed)
    shapes = expected_shapes(spec, kind, len(vocab or VOCABULARY) if kind == "ctc" else None)
    state = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return check_model(LoadedModel(spec, kind, state, vocab, source="random model"))


def assert_same_weights(model: LoadedModel, other: LoadedModel, apart: tuple[str, ...] = ()) -> None:
    names = [name for name in model.state if name not in apart]
    assert {name for name in other.state if name not in apart} == set(names)
    assert [name for name in names if not torch.equal(model.state[name], other.state[name])] == []


def strip_backbone(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(BACKBONE): tensor for name, tensor in state.items()}
