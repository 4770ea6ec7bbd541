"""The Transformer encoder: positions, then a stack of layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from w2v2_ray.model.dropout import dropout
from w2v2_ray.model.hourglass import HourglassStack
from w2v2_ray.model.positional import PositionalConv
from w2v2_ray.model.stack import LayerStack

_WEIGHT_STD = 0.02


class TransformerEncoder(nn.Module):
    """Adds positions by convolution and runs a plain or an Hourglass stack.

    The layer norm is applied before the stack if its layers are post-norm, to its output if they are pre-norm.
    Weights of all linear maps are drawn from N(0, 0.02), biases are 0 (reference `init_bert_params`).

    Args:
        pos_conv: Positional convolution.
        stack: Layers.
        dim: D.
        dropout: Before the first layer.
    """

    def __init__(
        self, pos_conv: PositionalConv, stack: LayerStack | HourglassStack, *, dim: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.pos_conv = pos_conv
        self.layer_norm = nn.LayerNorm(dim)
        self.stack = stack
        self.norm_first = stack.norm_first
        self.dropout = dropout
        for module in stack.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, mean=0.0, std=_WEIGHT_STD)
                nn.init.zeros_(module.bias)

    @property
    def num_layers(self) -> int:
        """Transformer layers in all: the length of `layer_keep`."""
        return self.stack.num_layers

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Choose whether layers compute their activations again in the backward pass."""
        self.stack.activation_checkpointing = enabled

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, layer_keep: Sequence[bool] | None = None
    ) -> Tensor:
        """Encode.

        Args:
            x: Frames.
            padding_mask: True = padding; None when nothing is.
            layer_keep: For each layer whether LayerDrop keeps it; None keeps all.

        Shape: x [B, T, D], padding_mask [B, T] -> [B, T, D].
        """
        if padding_mask is not None:
            x = x.masked_fill(padding_mask[..., None], 0.0)
        x = x + self.pos_conv(x)
        if not self.norm_first:
            x = self.layer_norm(x)
        x = dropout(x, self.dropout, self.training)
        x = self.stack(x, padding_mask, layer_keep)
        return self.layer_norm(x) if self.norm_first else x
