"""A run of Transformer layers at one frame rate, with LayerDrop decided outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from w2v2_ray.model.attention import attention_mask
from w2v2_ray.model.layer import TransformerLayer

LayerDropMode = Literal["skip", "run_and_discard"]


class _AttachZeroGradients(torch.autograd.Function):
    """Identity on x that gives every parameter handed in a gradient of exact zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.like = [(p.shape, p.dtype, p.device) for p in parameters]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        zeros = (torch.zeros(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.like)
        return (grad_outputs[0], *zeros)


class LayerStack(nn.Module):
    """Layers applied one after the other.

    Which layers LayerDrop drops is drawn outside and handed in, so that every worker can know it. A dropped layer is
    either left out ("skip"; its parameters still receive zero gradients, which gradient reduction in ZeRO 0 and 1
    waits for) or run with its result discarded ("run_and_discard"; ZeRO 2 and 3 need every rank to run every layer).
    Outputs, gradients and the random numbers drawn by the layers kept are the same in both modes.

    Args:
        layers: The layers.
        layer_drop_mode: "skip" or "run_and_discard".
        activation_checkpointing: Keep only each layer's input for the backward pass and compute the rest again.
    """

    def __init__(
        self,
        layers: Iterable[TransformerLayer],
        *,
        layer_drop_mode: LayerDropMode = "skip",
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.layer_drop_mode: LayerDropMode = layer_drop_mode
        self.activation_checkpointing = activation_checkpointing

    @property
    def num_layers(self) -> int:
        """How many layers there are, which is the length of `layer_keep`."""
        return len(self.layers)

    @property
    def norm_first(self) -> bool:
        """Whether any layer is pre-norm."""
        return any(layer.norm_first for layer in self.layers)

    def forward(
        self, x: Tensor, padding_mask: Tensor | None = None, layer_keep: Sequence[bool] | None = None
    ) -> Tensor:
        """Run the layers.

        Args:
            x: Frames.
            padding_mask: True = padding; None when nothing is.
            layer_keep: For each layer whether it is kept; None keeps all.

        Shape: x [B, T, D], padding_mask [B, T] -> [B, T, D].

        Raises:
            ValueError: If layer_keep is not as long as there are layers.
        """
        keep = check_layer_keep(layer_keep, self.num_layers)
        mask = attention_mask(padding_mask)
        for layer, kept in zip(self.layers, keep, strict=True):
            if kept:
                x = self._run(layer, x, mask, True)
            elif self.layer_drop_mode == "skip":
                trained = (p for p in layer.parameters() if p.requires_grad)
                x = _AttachZeroGradients.apply(x, *trained)  # type: ignore[no-untyped-call]
            else:
                # Without dropout: the result does not matter, and the layers kept must find the random stream where
                # it would be without this one.
                y = self._run(layer, x, mask, False)
                x = torch.where(torch.zeros((), dtype=torch.bool, device=x.device), y, x)
        return x

    def _run(self, layer: nn.Module, x: Tensor, mask: Tensor | None, use_dropout: bool) -> Tensor:
        if self.activation_checkpointing and torch.is_grad_enabled():
            y: Tensor = checkpoint(layer, x, mask, use_dropout, False, use_reentrant=False)
        else:
            y = layer(x, mask, use_dropout)
        return y


def check_layer_keep(layer_keep: Sequence[bool] | None, num_layers: int) -> Sequence[bool]:
    """Return layer_keep, or all True where it is None.

    Raises:
        ValueError: If its length is not the number of layers.
    """
    if layer_keep is None:
        return [True] * num_layers
    if len(layer_keep) != num_layers:
        raise ValueError(f"layer_keep has {len(layer_keep)} entries for {num_layers} layers; give one a layer")
    return layer_keep
