"""Attention with dropout on its weights, without keeping the weights for the backward pass.

No CPU kernel of `scaled_dot_product_attention` takes dropout: it falls back to separate steps that keep [B, H, T, T]
tensors three times a layer, more than all the rest of the layer together. Here one utterance's weights exist at a
time, and the backward pass computes them again and draws the same mask again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from w2v2_ray.model.cpu import dropping

_softmax_backward = torch.ops.aten._softmax_backward_data


def dropped_attention(qkv: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Attend, dropping weights; the mask of what is dropped follows from torch's CPU generator.

    Args:
        qkv: Queries, keys and values.
        mask: True = may be attended to; None allows everything.
        dropout: Probability of dropping a weight.

    Shape: qkv [B, T, 3, H, d], mask [B, 1, 1, T] -> [B, T, H, d].
    """
    out: Tensor = _DroppedAttention.apply(qkv, mask, dropout, dropping.draw_seed())  # type: ignore[no-untyped-call]
    return out


class _DroppedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, mask: Tensor | None, dropout: float, seed: int) -> Tensor:
        B, T, _, H, d = qkv.shape
        out = qkv.new_empty(B, T, H, d)
        draws = dropping.generator(seed)
        for row in range(B):
            q, k, v = qkv[row].permute(1, 2, 0, 3)
            weights = _weights(q, k, mask, row)
            weights.mul_(dropping.kept(weights.shape, weights.dtype, dropout, draws))
            out[row] = torch.bmm(weights, v).transpose(0, 1)
        out *= dropping.scale(dropout)
        ctx.save_for_backward(qkv, mask)
        ctx.dropout, ctx.seed = dropout, seed
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        qkv, mask = ctx.saved_tensors
        grad_qkv = torch.empty_like(qkv)
        draws = dropping.generator(ctx.seed)
        for row in range(len(qkv)):
            q, k, v = qkv[row].permute(1, 2, 0, 3)
            # Scaled here, where it is small, instead of with every mask.
            grad = (grad_outputs[0][row] * dropping.scale(ctx.dropout)).transpose(0, 1)
            weights = _weights(q, k, mask, row)
            kept = dropping.kept(weights.shape, weights.dtype, ctx.dropout, draws)
            grad_weights = torch.bmm(grad, v.transpose(1, 2)).mul_(kept)
            scores = _softmax_backward(grad_weights, weights, -1, weights.dtype)
            scores *= q.shape[2] ** -0.5
            grad_q, grad_k, grad_v = grad_qkv[row].permute(1, 2, 0, 3)
            grad_v.copy_(torch.bmm(weights.mul_(kept).transpose(1, 2), grad))
            grad_q.copy_(torch.bmm(scores, k))
            grad_k.copy_(torch.bmm(scores.transpose(1, 2), q))
        return grad_qkv, None, None, None


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, row: int) -> Tensor:
    """Shape: q and k [H, T, d], mask [B, 1, 1, T] -> [H, T, T]."""
    scores = torch.bmm(q * q.shape[2] ** -0.5, k.transpose(1, 2))
    if mask is not None:
        scores.masked_fill_(~mask[row], -torch.inf)
    return scores.softmax(-1)
