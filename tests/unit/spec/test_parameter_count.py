from __future__ import annotations

import pytest
import torch

from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.spec.loading import load_job_text
from w2v2_ray.spec.parameter_count import count_parameters


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("base", []),
        ("large", []),
        ("tiny", []),
        ("base", ["model.encoder.hourglass=null"]),
        ("tiny", ["model.encoder.hourglass.resample=linear", "model.quantizer.dim=64", "model.quantizer.codebooks=4"]),
        ("tiny", ["model.feature_encoder.norm=layer_norm", "model.feature_encoder.conv_layers.3.0=48"]),
        ("tiny", ["model.feature_encoder.bias=true", "model.feature_encoder.conv_layers.6.0=128"]),
    ],
)
def test_the_formula_counts_what_the_factory_builds(preset, options):
    text = f"kind: pretrain\npreset: {preset}\nname: x\ndata: {{train: a}}\n"
    spec = load_job_text(text, "job.yaml", options).job.model
    with torch.device("meta"):
        model = build_pretrain_model(spec)
    assert sum(count_parameters(spec).values()) == sum(parameter.numel() for parameter in model.parameters())


def test_base_has_the_known_size():
    text = "kind: pretrain\npreset: base\nname: x\ndata: {train: a}\n"
    assert sum(count_parameters(load_job_text(text, "job.yaml").job.model).values()) == 95_044_608
