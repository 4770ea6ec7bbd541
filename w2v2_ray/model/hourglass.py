"""The Hourglass: middle layers on a shortened sequence (Nawrot et al. 2021, arXiv 2110.13711)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.model.layer import TransformerLayer
from w2v2_ray.model.linear import Linear
from w2v2_ray.model.stack import LayerDropMode, LayerStack, check_layer_keep

Resample = Literal["naive", "linear"]


class NaiveShorten(nn.Module):
    """Average pooling over k frames."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [B, U, k, D] -> [B, U, D]."""
        return x.mean(2)


class NaiveUpsample(nn.Module):
    """Repeats each frame k times.

    Args:
        factor: k.
    """

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [B, U, D] -> [B, U, k, D]."""
        return x.unsqueeze(2).expand(-1, -1, self.factor, -1)


class LinearShorten(nn.Module):
    """A linear map of k stacked frames to one.

    Args:
        dim: D.
        factor: k.
    """

    def __init__(self, dim: int, factor: int) -> None:
        super().__init__()
        self.linear = Linear(factor * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [B, U, k, D] -> [B, U, D]."""
        out: Tensor = self.linear(x.flatten(2))
        return out


class LinearUpsample(nn.Module):
    """A linear map of one frame to k.

    Args:
        dim: D.
        factor: k.
    """

    def __init__(self, dim: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.linear = Linear(dim, factor * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [B, U, D] -> [B, U, k, D]."""
        out: Tensor = self.linear(x)
        return out.view(*x.shape[:2], self.factor, -1)


class HourglassStack(nn.Module):
    """Pre layers, shortening by k, middle layers, upsampling, residual, post layers.

    Any length works: the end is padded with zeros to a multiple of k and cut off again. A shortened frame is
    padding only if all its k frames are. Frames that are padding are zeroed before shortening, so that a shortened
    frame at an utterance's end does not depend on how far the batch happens to be padded.

    Args:
        pre: Layers at the full frame rate before shortening.
        middle: Layers at the shortened rate.
        post: Layers at the full rate after upsampling.
        shorten_factor: k, 2 or more.
        dim: D.
        resample: "naive" (average pooling and repetition) or "linear".
        padding_counts: Padded frames enter the average of a shortened one, as in the reference, instead of zeros.
        initial_gain: Weight of the last middle layer's norm before training. Below 1 the middle grows in from a
            whisper; as loud as the residual around it from the start, it is noise, which training at high rates
            silences for good: the layer's output becomes constant, and no gradient passes a norm of a constant.

    Raises:
        ValueError: For a factor below 2, an unknown resample, or pre-norm layers, whose unnormalised residual
            stream the shortening is not defined for (the reference refuses them too).
    """

    def __init__(
        self,
        pre: LayerStack,
        middle: LayerStack,
        post: LayerStack,
        *,
        shorten_factor: int,
        dim: int,
        resample: Resample = "naive",
        initial_gain: float = 1.0,
        padding_counts: bool = False,
    ) -> None:
        super().__init__()
        if shorten_factor < 2:
            raise ValueError(f"shorten_factor: {shorten_factor}; use 2 or more, or a plain stack of layers")
        if pre.norm_first or middle.norm_first or post.norm_first:
            raise ValueError("the Hourglass takes post-norm layers only; use post-norm, or a plain stack of layers")
        self.pre = pre
        self.middle = middle
        self.post = post
        self.shorten_factor = shorten_factor
        self._padding_counts = padding_counts
        self.shorten: nn.Module
        self.upsample: nn.Module
        if resample == "naive":
            self.shorten, self.upsample = NaiveShorten(), NaiveUpsample(shorten_factor)
        elif resample == "linear":
            self.shorten = LinearShorten(dim, shorten_factor)
            self.upsample = LinearUpsample(dim, shorten_factor)
        else:
            raise ValueError(f"resample: {resample!r}; use 'naive' or 'linear'")
        last = middle.layers[-1]
        assert isinstance(last, TransformerLayer)
        nn.init.constant_(last.ffn_norm.weight, initial_gain)

    @property
    def num_layers(self) -> int:
        """Layers in all: the length of `layer_keep`, in the order pre, middle, post."""
        return self.pre.num_layers + self.middle.num_layers + self.post.num_layers

    @property
    def norm_first(self) -> bool:
        """Always False: the Hourglass is post-norm."""
        return False

    @property
    def layer_drop_mode(self) -> LayerDropMode:
        """How dropped layers are dropped, in all three parts."""
        return self.pre.layer_drop_mode

    @layer_drop_mode.setter
    def layer_drop_mode(self, mode: LayerDropMode) -> None:
        for part in (self.pre, self.middle, self.post):
            part.layer_drop_mode = mode

    @property
    def activation_checkpointing(self) -> bool:
        """Whether layers compute their activations again in the backward pass, in all three parts."""
        return self.pre.activation_checkpointing

    @activation_checkpointing.setter
    def activation_checkpointing(self, enabled: bool) -> None:
        for part in (self.pre, self.middle, self.post):
            part.activation_checkpointing = enabled

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, layer_keep: Sequence[bool] | None = None
    ) -> Tensor:
        """Run the Hourglass.

        Args:
            x: Frames.
            padding_mask: True = padding; None when nothing is.
            layer_keep: For each layer, in the order pre, middle, post, whether it is kept; None keeps all.

        Shape: x [B, T, D], padding_mask [B, T] -> [B, T, D].

        Raises:
            ValueError: If layer_keep is not as long as there are layers.
        """
        keep = check_layer_keep(layer_keep, self.num_layers)
        first, last = self.pre.num_layers, self.num_layers - self.post.num_layers
        residual: Tensor = self.pre(x, padding_mask, keep[:first])
        short, short_mask = self._shorten(residual, padding_mask)
        short = self.middle(short, short_mask, keep[first:last])
        x = self.upsample(short).flatten(1, 2)[:, : residual.shape[1]] + residual
        out: Tensor = self.post(x, padding_mask, keep[last:])
        return out

    def _shorten(self, x: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Shape: x [B, T, D], padding_mask [B, T] -> [B, U, D], [B, U]."""
        k = self.shorten_factor
        B, T, D = x.shape
        missing = -T % k
        if padding_mask is not None:
            if not self._padding_counts:
                x = x.masked_fill(padding_mask[..., None], 0.0)
            padding_mask = F.pad(padding_mask, (0, missing), value=True).view(B, -1, k).all(2)
        if missing:
            x = F.pad(x, (0, 0, 0, missing))
        short: Tensor = self.shorten(x.reshape(B, -1, k, D))
        return short, padding_mask
