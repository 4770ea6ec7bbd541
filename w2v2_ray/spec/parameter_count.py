"""Parameters of a model by arithmetic on its spec, so that planning needs no torch.

Tested against the built model; `model/factory.py` decides what is built.
"""

from __future__ import annotations

from itertools import pairwise

from w2v2_ray.spec.model import EncoderSpec, FeatureEncoderSpec, ModelSpec, QuantizerSpec


def count_parameters(spec: ModelSpec) -> dict[str, int]:
    """Trainable parameters of the pre-training model by part."""
    channels, dim = spec.feature_encoder.channels, spec.encoder.dim
    quantizer = spec.quantizer
    return {
        "feature_encoder": _feature_encoder(spec.feature_encoder),
        # LayerNorm over channels, projection to D, the vector of masked frames
        "input_projection": 2 * channels + _linear(channels, dim) + dim,
        "encoder": _encoder(spec.encoder),
        "quantizer": quantizer.entries * spec.code_dim + _code_logits(quantizer, channels),
        "projections": _linear(spec.code_dim, spec.final_dim)
        + _linear(dim, spec.final_dim)
        + (_linear(spec.final_dim, 2 * spec.final_dim) if spec.target_glu else 0),
    }


def _code_logits(spec: QuantizerSpec, channels: int) -> int:
    """The layers from frames to the logits of the codes."""
    widths = [channels, *[spec.factor * channels] * (spec.depth - 1), spec.codebooks * spec.entries]
    return sum(_linear(inputs, outputs) for inputs, outputs in pairwise(widths))


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _feature_encoder(spec: FeatureEncoderSpec) -> int:
    total, inputs = 0, 1
    for index, (channels, kernel, _) in enumerate(spec.conv_layers):
        total += inputs * channels * kernel + (channels if spec.bias else 0)
        if spec.norm == "layer_norm" or index == 0:
            total += 2 * channels
        inputs = channels
    return total


def _encoder(spec: EncoderSpec) -> int:
    dim = spec.dim
    # grouped convolution with weight norm over the kernel dimension
    position = dim * (dim // spec.position_groups) * spec.position_kernel + spec.position_kernel + dim
    layer = 4 * _linear(dim, dim) + _linear(dim, spec.ffn_dim) + _linear(spec.ffn_dim, dim) + 2 * 2 * dim
    total = position + spec.layers * layer + 2 * dim
    if spec.hourglass is not None and spec.hourglass.resample == "linear":
        k = spec.hourglass.shorten_factor
        total += _linear(k * dim, dim) + _linear(dim, k * dim)
    return total
