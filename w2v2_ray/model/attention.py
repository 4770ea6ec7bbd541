"""Multi-head self-attention."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.model.cpu import dropping
from w2v2_ray.model.cpu.dropped_attention import dropped_attention
from w2v2_ray.model.cpu.half_products import to_be_widened
from w2v2_ray.model.linear import Linear


def attention_mask(padding_mask: Tensor | None) -> Tensor | None:
    """Return the mask that `scaled_dot_product_attention` takes (True = may be attended to), or None.

    None, when nothing is padded, lets it choose its fastest kernels.

    Shape: padding_mask [B, T] (True = padding) -> [B, 1, 1, T].
    """
    return None if padding_mask is None else ~padding_mask[:, None, None, :]


class SelfAttention(nn.Module):
    """Multi-head self-attention on `scaled_dot_product_attention`.

    Queries, keys and values come from one fused projection, rows in that order: one matrix product instead of
    three. Source: Vaswani et al. 2017, section 3.2.2.

    Args:
        dim: D.
        heads: Heads; divides D.
        dropout: Probability of dropping an attention weight in training.

    Raises:
        ValueError: If heads does not divide dim.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads: {heads} does not divide dim {dim}")
        self.heads = heads
        self.dropout = dropout
        self.qkv = Linear(dim, 3 * dim)
        self.out_proj = Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None, use_dropout: bool = True) -> Tensor:
        """Attend.

        Args:
            x: Frames.
            mask: As `attention_mask` returns it.
            use_dropout: Whether dropout, in training, is on.

        Shape: x [B, T, D], mask [B, 1, 1, T] -> [B, T, D].
        """
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, D // self.heads)
        dropout = self.dropout if self.training and use_dropout else 0.0
        if to_be_widened(qkv):
            qkv = qkv.float()
        if dropout and dropping.draws_here(x):
            y = dropped_attention(qkv, mask, dropout)
        else:
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(1, 2)
        out: Tensor = self.out_proj(y.reshape(B, T, D).to(x.dtype))
        return out
