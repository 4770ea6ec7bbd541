"""Waveform to context vectors: what pre-training and fine-tuning share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from w2v2_ray.model.dropout import dropout
from w2v2_ray.model.encoder import TransformerEncoder
from w2v2_ray.model.feature_encoder import FeatureEncoder, num_frames_tensor, padding_mask_from_lengths
from w2v2_ray.model.linear import Linear


class BackboneOutput(NamedTuple):
    """What the backbone makes of a waveform."""

    context: Tensor
    """Encoder output [B, T, D]."""
    features: Tensor
    """Feature encoder output before its norm [B, T, C]."""
    normed_features: Tensor
    """The same after the norm; targets are made from it [B, T, C]."""
    frame_lengths: Tensor | None
    """Valid frames of each row [B]; None when no lengths were given."""
    padding_mask: Tensor | None
    """True = padding [B, T]; None when no lengths were given."""


class InputMasking(nn.Module):
    """Replaces masked frames by one learned vector and zeroes masked channels (wav2vec 2.0, section 3.1).

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(dim))
        nn.init.uniform_(self.embedding)

    def forward(self, x: Tensor, time_mask: Tensor | None, channel_mask: Tensor | None) -> Tensor:
        """Mask.

        Shape: x [B, T, D], time_mask [B, T], channel_mask [B, D] -> [B, T, D].
        """
        if time_mask is not None:
            x = torch.where(time_mask[..., None], self.embedding.to(x.dtype), x)
        if channel_mask is not None:
            x = x.masked_fill(channel_mask[:, None], 0.0)
        return x


class Wav2Vec2Backbone(nn.Module):
    """Feature encoder, norm, projection, masking, Transformer encoder (reference section 1, steps 1 to 5).

    Args:
        feature_encoder: Waveform to features.
        encoder: Projected features to context.
        dim: D.
        dropout_input: On the projected features.
    """

    def __init__(
        self, feature_encoder: FeatureEncoder, encoder: TransformerEncoder, *, dim: int, dropout_input: float = 0.0
    ) -> None:
        super().__init__()
        channels = feature_encoder.out_channels
        self.feature_encoder = feature_encoder
        self.feature_norm = nn.LayerNorm(channels)
        self.input_proj = Linear(channels, dim)
        self.dropout_input = dropout_input
        self.input_masking = InputMasking(dim)
        self.encoder = encoder

    def forward(
        self,
        waveform: Tensor,
        lengths: Tensor | None = None,
        *,
        time_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
        layer_keep: Sequence[bool] | None = None,
        views: int = 1,
    ) -> BackboneOutput:
        """Encode.

        Args:
            waveform: Samples.
            lengths: Valid samples of each row where rows are padded; None means that nothing is.
            time_mask: Frames to mask.
            channel_mask: Channels to zero.
            layer_keep: For each Transformer layer whether LayerDrop keeps it; None keeps all.
            views: How often each utterance goes through the encoder, each time with dropout and masks of its own; the
                feature encoder runs once.

        Shape: waveform [B, S], lengths [B], time_mask [V * B, T], channel_mask [V * B, D], V views one after the
            other; so are the rows of everything returned but `features` and `normed_features`.
        """
        features = self.feature_encoder(waveform, lengths)
        frame_lengths = padding_mask = None
        if lengths is not None:
            frame_lengths = num_frames_tensor(lengths, self.feature_encoder.conv_layers)
            padding_mask = padding_mask_from_lengths(frame_lengths, features.shape[1])
        normed = self.feature_norm(features)
        x = self.input_proj(normed)
        if views > 1:
            x = x.repeat(views, 1, 1)
            frame_lengths = None if frame_lengths is None else frame_lengths.repeat(views)
            padding_mask = None if padding_mask is None else padding_mask.repeat(views, 1)
        x = dropout(x, self.dropout_input, self.training)
        x = self.input_masking(x, time_mask, channel_mask)
        context = self.encoder(x, padding_mask, layer_keep)
        return BackboneOutput(context, features, normed, frame_lengths, padding_mask)
