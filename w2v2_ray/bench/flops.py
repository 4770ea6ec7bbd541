"""Floating-point operations that a training step of the model needs, whoever computes it."""

from __future__ import annotations

from w2v2_ray.spec.model import EncoderSpec, ModelSpec

_FORWARD_AND_BACKWARD = 3
"""A product forward, one for each of its two gradients."""


def model_flops(spec: ModelSpec, batch: int, samples: int) -> float:
    """Of forward and backward, matrix products and convolutions alone: two a multiplication.

    Args:
        spec: The network.
        batch: Utterances.
        samples: Of each.
    """
    total, length, channels = 0.0, samples, 1
    for out_channels, kernel, stride in spec.feature_encoder.conv_layers:
        length = (length - kernel) // stride + 1
        total += 2.0 * length * out_channels * channels * kernel
        channels = out_channels
    encoder = spec.encoder
    total += 2.0 * length * channels * encoder.dim
    total += 2.0 * length * encoder.dim * encoder.position_kernel * encoder.dim / encoder.position_groups
    hourglass = encoder.hourglass
    if hourglass is None:
        total += encoder.layers * _layer(encoder, length)
    else:
        short = -(-length // hourglass.shorten_factor)
        total += (hourglass.pre_layers + hourglass.post_layers) * _layer(encoder, length)
        total += hourglass.middle_layers * _layer(encoder, short)
    return _FORWARD_AND_BACKWARD * batch * total


def _layer(encoder: EncoderSpec, frames: int) -> float:
    weights = 4 * encoder.dim**2 + 2 * encoder.dim * encoder.ffn_dim
    return 2.0 * frames * weights + 4.0 * frames**2 * encoder.dim
