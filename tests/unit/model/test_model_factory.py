from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from model_helpers import HOURGLASS

from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
from w2v2_ray.spec.model import ModelSpec


def count_parameters(spec: ModelSpec, vocab_size: int | None = None) -> int:
    with torch.device("meta"):
        model = build_pretrain_model(spec) if vocab_size is None else build_ctc_model(spec, vocab_size)
    return sum(parameter.numel() for parameter in model.parameters())


def test_base_and_large_have_the_published_numbers_of_parameters() -> None:
    plain = ModelSpec.model_validate({"encoder": {"hourglass": None}})
    assert count_parameters(plain) == 95_044_608
    assert count_parameters(plain, vocab_size=32) == 94_396_320
    large = ModelSpec.model_validate(
        {
            "feature_encoder": {"norm": "layer_norm", "bias": True},
            "encoder": {"layers": 24, "dim": 1024, "ffn_dim": 4096, "heads": 16, "norm_first": True, "hourglass": None},
            "final_dim": 768,
        }
    )
    assert count_parameters(large) == 317_390_592


def test_the_naive_hourglass_adds_no_parameter() -> None:
    plain = ModelSpec.model_validate({"encoder": {"hourglass": None}})
    assert count_parameters(ModelSpec()) == count_parameters(plain)


def test_the_backbone_of_a_pretrained_model_loads_into_a_recogniser(small_spec: Callable[..., ModelSpec]) -> None:
    spec = small_spec(hourglass=HOURGLASS)
    pretrained, recogniser = build_pretrain_model(spec), build_ctc_model(spec, 11)
    recogniser.backbone.load_state_dict(pretrained.backbone.state_dict())
    x = torch.randn(1, 900)
    assert torch.equal(pretrained.eval().backbone(x).context, recogniser.eval().backbone(x).context)


@pytest.mark.parametrize("mode", ["skip", "run_and_discard"])
def test_options_reach_every_part_of_the_stack(mode: str, small_spec: Callable[..., ModelSpec]) -> None:
    model = build_pretrain_model(
        small_spec(hourglass=HOURGLASS),
        layer_drop_mode=mode,  # type: ignore[arg-type]
        activation_checkpointing=True,
    )
    stack = model.backbone.encoder.stack
    for part in (stack.pre, stack.middle, stack.post):
        assert part.layer_drop_mode == mode
        assert part.activation_checkpointing
