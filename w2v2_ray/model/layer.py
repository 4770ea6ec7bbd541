"""One Transformer layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.model.attention import SelfAttention
from w2v2_ray.model.dropout import dropout
from w2v2_ray.model.linear import Linear
from w2v2_ray.model.recomputed import recomputed

Activation = Literal["gelu", "relu", "silu", "tanh"]

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward block, each with a residual and a layer norm.

    Post-norm (Base): x = LN(x + drop(attn(x))); x = LN(x + drop(fc2(drop(act(fc1 x))))), act being GELU as published.
    Pre-norm (Large, reference `layer_norm_first`): the norm is applied to each block's input instead.

    Args:
        dim: D.
        ffn_dim: Width of the feed-forward block.
        heads: Attention heads.
        norm_first: Norm before each block instead of after.
        dropout: After each block.
        attention_dropout: On attention weights.
        activation_dropout: After the activation.
        activation: Of the feed-forward block (fairseq `activation_fn`).
    """

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        heads: int,
        *,
        norm_first: bool = False,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.dropout = dropout
        self.activation_dropout = activation_dropout
        self._activate = _ACTIVATIONS[activation]
        self.attention = SelfAttention(dim, heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.ffn_in = Linear(dim, ffn_dim)
        self.ffn_out = Linear(ffn_dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, use_dropout: bool = True, recompute: bool = True
    ) -> Tensor:
        """Apply the layer.

        Args:
            x: Frames.
            mask: As `attention.attention_mask` returns it.
            use_dropout: False leaves dropout out in training too, and draws no random numbers.
            recompute: Compute the widest activation again in the backward pass; for callers that keep none of them
                anyway, False.

        Shape: x [B, T, D], mask [B, 1, 1, T] -> [B, T, D].
        """
        active = self.training and use_dropout
        if self.norm_first:
            y = self.attention(self.attention_norm(x), mask, use_dropout)
            x = x + dropout(y, self.dropout, active)
            return x + dropout(self._feed_forward(self.ffn_norm(x), active, recompute), self.dropout, active)
        y = self.attention(x, mask, use_dropout)
        x = self.attention_norm(x + dropout(y, self.dropout, active))
        y = self._feed_forward(x, active, recompute)
        out: Tensor = self.ffn_norm(x + dropout(y, self.dropout, active))
        return out

    def _feed_forward(self, x: Tensor, active: bool, recompute: bool) -> Tensor:
        before = self.ffn_in(x)
        hidden = self._activate(before)
        drops = active and self.activation_dropout > 0
        if drops:
            hidden = dropout(hidden, self.activation_dropout, True)
        if drops or not recompute:
            out: Tensor = self.ffn_out(hidden)
            return out
        return recomputed(self.ffn_out, hidden, lambda: self._activate(before))
