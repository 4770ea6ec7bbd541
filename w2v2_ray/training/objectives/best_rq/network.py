"""The network of BEST-RQ: the backbone, and a layer that predicts labels of masked frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.model.backbone import BackboneOutput, Wav2Vec2Backbone
from w2v2_ray.model.linear import Linear
from w2v2_ray.model.pretraining import masked_positions


class BestRqOutput(NamedTuple):
    """Loss of one micro-batch and what is worth logging about it."""

    loss_sum: Tensor
    """Cross-entropy in nats, summed over masked frames. Has the gradient."""
    correct: Tensor
    """Masked frames whose label was the likeliest (int64)."""
    labels: Tensor
    """Of the masked frames [n]."""


class BestRqModel(nn.Module):
    """Predicts the labels of masked frames with a softmax over the context (Chiu et al. 2022, section 3.2).

    Args:
        backbone: Waveform to context.
        entries: Labels.
    """

    def __init__(self, backbone: Wav2Vec2Backbone, entries: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.prediction = Linear(backbone.input_proj.out_features, entries)

    def forward(
        self,
        waveform: Tensor,
        masks: Tensor,
        rows: Sequence[tuple[int, int]],
        labels: Tensor,
        *,
        layer_keep: Sequence[bool] | None = None,
    ) -> BestRqOutput:
        """Compute the loss of one micro-batch.

        Args:
            waveform: Samples of all sub-batches, cropped to one length.
            masks: Masked frames (True).
            rows: Per sub-batch, its rows and how many frames are masked in each.
            labels: Of every frame.
            layer_keep: For each Transformer layer whether LayerDrop keeps it; None keeps all.

        Shape: waveform [B, S], masks and labels [B, T].
        """
        out: BackboneOutput = self.backbone(waveform, time_mask=masks, layer_keep=layer_keep)
        where = masked_positions(masks, rows)
        logits = self.prediction(out.context.flatten(0, 1).index_select(0, where)).float()
        wanted = labels.flatten().index_select(0, where)
        return BestRqOutput(
            loss_sum=F.cross_entropy(logits, wanted, reduction="sum"),
            correct=(logits.detach().argmax(1) == wanted).sum(),
            labels=wanted,
        )
