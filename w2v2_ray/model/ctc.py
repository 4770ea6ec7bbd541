"""Fine-tuning and inference: a linear layer over the context, trained with CTC."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.model.backbone import BackboneOutput, Wav2Vec2Backbone
from w2v2_ray.model.dropout import dropout
from w2v2_ray.model.linear import Linear

BLANK = 0
"""Index of the CTC blank (`<s>` in the reference's dictionaries)."""


class CtcOutput(NamedTuple):
    """What the recogniser makes of a waveform."""

    log_probs: Tensor
    """fp32 [B, T, vocabulary]. A padded frame has all its mass on blank."""
    frame_lengths: Tensor
    """Valid frames of each row [B]."""
    padding_mask: Tensor | None
    """True = padding [B, T]; None when nothing is padded."""


class Wav2Vec2CtcModel(nn.Module):
    """Backbone, dropout and a linear layer to the vocabulary (reference section 1, step 8).

    Args:
        backbone: Waveform to context.
        vocab_size: Entries of the dictionary, blank included.
        final_dropout: On the context.
    """

    def __init__(self, backbone: Wav2Vec2Backbone, *, vocab_size: int, final_dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.final_dropout = final_dropout
        self.head = Linear(backbone.input_proj.out_features, vocab_size)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        waveform: Tensor,
        lengths: Tensor | None = None,
        *,
        time_mask: Tensor | None = None,
        channel_mask: Tensor | None = None,
        layer_keep: Sequence[bool] | None = None,
        freeze_backbone: bool = False,
        views: int = 1,
    ) -> CtcOutput:
        """Compute log-probabilities.

        Args:
            waveform: Samples, rows padded with anything at the end.
            lengths: Valid samples of each row; None means that nothing is padded. With them, padding changes no
                valid frame.
            time_mask: Frames to mask, in training.
            channel_mask: Channels to zero, in training.
            layer_keep: For each Transformer layer whether LayerDrop keeps it; None keeps all.
            freeze_backbone: Run the backbone under no_grad (reference `freeze_finetune_updates`).
            views: Passes of each utterance through the encoder; see `Wav2Vec2Backbone.forward`.

        Shape: waveform [B, S], lengths [B], time_mask [V * B, T], channel_mask [V * B, D].
        """
        with torch.no_grad() if freeze_backbone else nullcontext():
            out: BackboneOutput = self.backbone(
                waveform,
                lengths,
                time_mask=time_mask,
                channel_mask=channel_mask,
                layer_keep=layer_keep,
                views=views,
            )
        logits = self.head(dropout(out.context, self.final_dropout, self.training))
        log_probs = F.log_softmax(logits.float(), dim=-1)
        frame_lengths = out.frame_lengths
        if frame_lengths is None:
            B, T = log_probs.shape[:2]
            frame_lengths = torch.full((B,), T, dtype=torch.int64, device=log_probs.device)
        if out.padding_mask is not None:
            blank = torch.full((log_probs.shape[2],), -torch.inf, device=log_probs.device)
            blank[BLANK] = 0.0
            log_probs = torch.where(out.padding_mask[..., None], blank, log_probs)
        return CtcOutput(log_probs, frame_lengths, out.padding_mask)


def ctc_loss(output: CtcOutput, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Return the CTC loss in nats, summed over utterances; one whose target does not fit its frames counts as 0.

    Shape: targets [B, L] (padded) or concatenated, target_lengths [B] -> [].
    """
    return F.ctc_loss(
        output.log_probs.transpose(0, 1),
        targets,
        output.frame_lengths,
        target_lengths,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )


def consistency_loss(output: CtcOutput) -> Tensor:
    """Return how far two views of the same utterances diverge, in nats, summed over valid frames.

    Each view is drawn to the other, which is held still: the mean of both Kullback-Leibler divergences (CR-CTC, Yao et
    al. 2024, arXiv 2410.05101, equation 4).

    Shape: log_probs [2 * B, T, vocabulary], the second view after the first -> [].
    """
    one, two = output.log_probs.chunk(2)
    divergence = 0.5 * (
        F.kl_div(one, two.detach(), reduction="none", log_target=True)
        + F.kl_div(two, one.detach(), reduction="none", log_target=True)
    )
    if output.padding_mask is not None:
        padding = output.padding_mask.chunk(2)[0]
        # A padded frame's impossible symbols are minus infinity, and minus infinity less itself is not a number.
        divergence = torch.where(padding[..., None], divergence.new_zeros(()), divergence)
    return divergence.sum()


def collapse(best: Sequence[int]) -> list[tuple[int, int, int]]:
    """Merge the repeats of a best path and drop its blanks (Graves et al. 2006, the map B of section 3.1).

    Args:
        best: Most probable output of each frame [T].

    Returns:
        (output, first frame, frame after the last) of every symbol.
    """
    symbols: list[tuple[int, int, int]] = []
    start = 0
    for frame in range(1, len(best) + 1):
        if frame == len(best) or best[frame] != best[start]:
            if best[start] != BLANK:
                symbols.append((best[start], start, frame))
            start = frame
    return symbols
