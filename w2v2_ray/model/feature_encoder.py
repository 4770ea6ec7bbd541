"""Waveform to latent features: the strided convolutions of wav2vec 2.0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.model.cpu.conv_rows import BlockWeights, ConvRow, encode_rows
from w2v2_ray.model.cpu.place import on_cpu
from w2v2_ray.model.recomputed import recomputed

ConvLayer = tuple[int, int, int]
"""(channels, kernel, stride) of one convolution."""

NormMode = Literal["group_norm", "layer_norm"]


def num_frames(num_samples: int, conv_layers: Sequence[ConvLayer]) -> int:
    """Return how many frames the encoder makes of `num_samples` samples (0 if they are too few for one).

    Source: repeated floor((n - kernel) / stride + 1); no convolution is padded.
    """
    for _, kernel, stride in conv_layers:
        num_samples = max(0, (num_samples - kernel) // stride + 1)
    return num_samples


def num_frames_tensor(num_samples: Tensor, conv_layers: Sequence[ConvLayer]) -> Tensor:
    """Return `num_frames` of every element of an integer tensor, on its device and without a host sync."""
    for _, kernel, stride in conv_layers:
        num_samples = (torch.div(num_samples - kernel, stride, rounding_mode="floor") + 1).clamp(min=0)
    return num_samples


def padding_mask_from_lengths(lengths: Tensor, size: int) -> Tensor:
    """Return the padding mask (True = padding) of sequences of these lengths in a tensor of `size` steps.

    Shape: lengths [B] -> [B, size].
    """
    return torch.arange(size, device=lengths.device) >= lengths[:, None]


class _ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a constant (`feature_grad_mult` of the reference)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0] * ctx.scale, None


class ChannelwiseGroupNorm(nn.Module):
    """Group norm with one group a channel: over time, per channel and utterance.

    With lengths the statistics are those of the valid frames alone, so that padding an utterance to fit a batch
    changes none of its values. Statistics are fp32 whatever the dtype.

    Args:
        channels: C.
        eps: Added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalise.

        Shape: x [B, C, T], lengths [B] in frames of x -> [B, C, T].
        """
        if lengths is None:
            return F.group_norm(x, x.shape[1], self.weight, self.bias, self.eps)
        valid = ~padding_mask_from_lengths(lengths, x.shape[2])[:, None]
        count = lengths.clamp(min=1).view(-1, 1, 1)
        x32 = x.float()
        mean = (x32 * valid).sum(2, keepdim=True) / count
        centred = x32 - mean
        variance = (centred.square() * valid).sum(2, keepdim=True) / count
        scale = torch.rsqrt(variance + self.eps) * self.weight.float()[:, None]
        return (centred * scale + self.bias.float()[:, None]).to(x.dtype)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of a [B, C, T] tensor."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalise every frame on its own, so lengths do not matter.

        Shape: x [B, C, T] -> [B, C, T].
        """
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ConvBlock(nn.Module):
    """Conv1d -> optional norm; the GELU after it is the encoder's, which can do it twice.

    Args:
        in_channels: Channels of the input.
        layer: (channels, kernel, stride).
        bias: Whether the convolution has a bias.
        norm: None, or the norm after the convolution.
    """

    def __init__(
        self, in_channels: int, layer: ConvLayer, *, bias: bool, norm: ChannelwiseGroupNorm | ChannelLayerNorm | None
    ) -> None:
        super().__init__()
        channels, kernel, stride = layer
        self.conv = nn.Conv1d(in_channels, channels, kernel, stride=stride, bias=bias)
        self.norm = norm
        nn.init.kaiming_normal_(self.conv.weight)

    @property
    def row(self) -> ConvRow:
        """The block in numbers."""
        norm: Literal["group", "layer"] | None = None
        if self.norm is not None:
            norm = "group" if isinstance(self.norm, ChannelwiseGroupNorm) else "layer"
        eps = self.norm.eps if self.norm is not None else 0.0
        return ConvRow(self.conv.kernel_size[0], self.conv.stride[0], norm, eps)

    @property
    def weights(self) -> BlockWeights:
        """Its parameters."""
        norm = self.norm
        bias = None if norm is None else norm.bias
        return BlockWeights(self.conv.weight, self.conv.bias, None if norm is None else norm.weight, bias)

    def forward(self, x: Tensor, lengths: Tensor | None = None, again: Callable[[], Tensor] | None = None) -> Tensor:
        """Apply the block.

        Args:
            x: Input.
            lengths: Valid frames of the output.
            again: Computes x again in the backward pass, for which x is then not kept.

        Shape: x [B, C_in, T_in], lengths [B] -> [B, C, T].
        """
        y = self.conv(x) if again is None else recomputed(self.conv, x, again)
        if self.norm is not None:
            y = self.norm(y, lengths)
        return y


class FeatureEncoder(nn.Module):
    """Stack of strided convolutions from 16 kHz samples to 20 ms frames (wav2vec 2.0, section 2).

    Args:
        conv_layers: (channels, kernel, stride) of each block.
        norm: "group_norm" (Base: a channel-wise group norm after the first convolution only) or "layer_norm"
            (Large: a layer norm over channels in every block).
        bias: Whether the convolutions have biases.
        gradient_scale: Gradients that flow into the encoder are multiplied by it (reference `feature_grad_mult`);
            0 freezes the encoder: it runs under no_grad and its parameters require no gradient.
        padding_counts: The group norm's statistics are of padded samples too, as in the reference's training.

    Raises:
        ValueError: For no layers or an unknown norm.
    """

    def __init__(
        self,
        conv_layers: Sequence[ConvLayer],
        norm: NormMode = "group_norm",
        bias: bool = False,
        gradient_scale: float = 1.0,
        *,
        padding_counts: bool = False,
    ) -> None:
        super().__init__()
        if not conv_layers:
            raise ValueError("conv_layers is empty; the feature encoder needs one convolution or more")
        if norm not in ("group_norm", "layer_norm"):
            raise ValueError(f"norm: {norm!r}; use 'group_norm' or 'layer_norm'")
        self.conv_layers: tuple[ConvLayer, ...] = tuple((c, k, s) for c, k, s in conv_layers)
        self.norm = norm
        self.gradient_scale = gradient_scale
        self._padding_counts = padding_counts
        blocks: list[ConvBlock] = []
        in_channels = 1
        for index, layer in enumerate(self.conv_layers):
            block_norm: ChannelwiseGroupNorm | ChannelLayerNorm | None = None
            if norm == "layer_norm":
                block_norm = ChannelLayerNorm(layer[0])
            elif index == 0:
                block_norm = ChannelwiseGroupNorm(layer[0])
            blocks.append(ConvBlock(in_channels, layer, bias=bias, norm=block_norm))
            in_channels = layer[0]
        self.blocks = nn.ModuleList(blocks)
        if gradient_scale == 0:
            self.requires_grad_(False)

    @property
    def out_channels(self) -> int:
        """Channels C of the features."""
        return self.conv_layers[-1][0]

    def num_frames(self, num_samples: int) -> int:
        """Return how many frames it makes of `num_samples` samples."""
        return num_frames(num_samples, self.conv_layers)

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode.

        Args:
            waveform: Samples, in any floating dtype.
            lengths: Valid samples of each row where rows are padded; None means that nothing is.

        Shape: waveform [B, S], lengths [B] -> [B, T, C].
        """
        x = waveform.to(next(self.blocks.parameters()).dtype)
        if self._padding_counts:
            lengths = None
        # Only the first block's norm looks across time, so only it needs to know what is padding.
        valid = num_frames_tensor(lengths, self.conv_layers[:1]) if lengths is not None else None
        with torch.no_grad() if self.gradient_scale == 0 else nullcontext():
            if self._by_rows(x):
                blocks: list[ConvBlock] = list(self.blocks)  # type: ignore[arg-type]
                first_lengths = None if valid is None else valid.tolist()
                features = encode_rows(x, [b.row for b in blocks], [b.weights for b in blocks], first_lengths)
            else:
                features = self._by_modules(x, valid)
        if self.gradient_scale not in (0, 1) and features.requires_grad:
            features = _ScaleGradient.apply(features, self.gradient_scale)  # type: ignore[no-untyped-call]
        return features

    def _by_modules(self, waveform: Tensor, valid: Tensor | None) -> Tensor:
        """Block after block on the whole batch: what GPUs are good at, and what can be traced."""
        blocks: list[ConvBlock] = list(self.blocks)  # type: ignore[arg-type]
        before = blocks[0](waveform[:, None], valid)
        for block in blocks[1:]:
            # What GELU takes is kept for its own sake, so what it gives need not be: of all activations the largest.
            before = block(F.gelu(before), None, partial(F.gelu, before))
        return F.gelu(before).transpose(1, 2)

    def _by_rows(self, waveform: Tensor) -> bool:
        """Whether `conv_rows` computes this: on a CPU, when nothing is traced and the weights are all here.

        ZeRO 3 brings a module's weights when the module is called, and leaves nothing in their place before.
        """
        if waveform.requires_grad or not on_cpu(waveform):
            return False
        return all(parameter.numel() for parameter in self.parameters()) and self.num_frames(waveform.shape[1]) > 0
