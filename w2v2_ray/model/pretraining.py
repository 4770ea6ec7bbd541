"""Self-supervised pre-training: contrastive task over quantised targets (wav2vec 2.0, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.model.backbone import BackboneOutput, Wav2Vec2Backbone
from w2v2_ray.model.contrastive import contrastive_logits, contrastive_loss, count_correct, own_logits, pooled_logits
from w2v2_ray.model.dropout import dropout
from w2v2_ray.model.linear import Linear
from w2v2_ray.model.quantizer import GumbelQuantizer, QuantizerOutput

ConcatDiversity = Literal["last", "each"]


class PretrainOutput(NamedTuple):
    """Loss of one micro-batch and what is worth logging about it. Tensors stay on the device; nothing is synced."""

    loss_sum: Tensor
    """Sum over masked frames, in nats: contrastive + diversity + features_penalty. Has the gradient."""
    contrastive: Tensor
    """Cross-entropy, summed over masked frames; detached, as are the other terms."""
    diversity: Tensor
    """n · weight · (G·V - prob_perplexity) / (G·V), summed over sub-batches (see `concat_diversity`)."""
    features_penalty: Tensor
    """n · weight · mean(features²)."""
    sample_size: int
    """n, masked frames."""
    correct: Tensor
    """Masked frames whose own target had the largest logit (int64)."""
    prob_perplexity: Tensor
    """Mean over sub-batches; `QuantizerOutput` says of what."""
    code_perplexity: Tensor
    """Mean over sub-batches."""
    prob_perplexities: Tensor
    """One per sub-batch [S]."""
    code_perplexities: Tensor
    """One per sub-batch [S]."""
    features_mean_square: Tensor
    """mean(features²), without weight."""
    logits: list[Tensor] | None = None
    """Per sub-batch [b, M, 1 + N], when asked for; N of every kind."""


class Wav2Vec2PretrainModel(nn.Module):
    """The pre-training model and its loss.

    Several sub-batches are forwarded as one, but quantiser statistics, negatives and the contrastive loss are each
    sub-batch's own, so that how many share a forward pass does not change the constants of the recipe
    (reference section 4).

    Args:
        backbone: Waveform to context.
        quantizer: Features to targets.
        final_dim: Width in which context and targets are compared.
        target_glu: A gated linear unit over the projected targets and distractors (fairseq `target_glu`).
        dropout_features: On the features that targets are made from.
        logit_temperature: Cosines are divided by it.
        diversity_weight: Of the diversity term.
        features_penalty_weight: Of the mean square of the features (reference: 10 Base, 0 Large).
        concat_diversity: Which perplexity the diversity term of several sub-batches uses. "each": each one's own,
            weighted with its own masked frames, so that the term does not depend on how many share a forward pass.
            "last": the last one's for all n masked frames, as the reference does; for parity with it.
    """

    def __init__(
        self,
        backbone: Wav2Vec2Backbone,
        quantizer: GumbelQuantizer,
        *,
        final_dim: int,
        target_glu: bool = False,
        dropout_features: float = 0.0,
        logit_temperature: float = 0.1,
        diversity_weight: float = 0.1,
        features_penalty_weight: float = 10.0,
        concat_diversity: ConcatDiversity = "each",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.quantizer = quantizer
        self.target_proj = Linear(quantizer.code_dim, final_dim)
        self.target_glu = Linear(final_dim, 2 * final_dim) if target_glu else None
        self.context_proj = Linear(backbone.input_proj.out_features, final_dim)
        self.dropout_features = dropout_features
        self.logit_temperature = logit_temperature
        self.diversity_weight = diversity_weight
        self.features_penalty_weight = features_penalty_weight
        self.concat_diversity: ConcatDiversity = concat_diversity

    def forward(
        self,
        waveform: Tensor,
        sub_batch_sizes: Sequence[int],
        masks: Tensor,
        negatives: Sequence[Tensor],
        *,
        cross_negatives: Sequence[Tensor] | None = None,
        codebook_negatives: Sequence[Tensor] | None = None,
        gumbel_temperature: float,
        layer_keep: Sequence[bool] | None = None,
        return_logits: bool = False,
    ) -> PretrainOutput:
        """Compute the loss of one micro-batch.

        Args:
            waveform: Samples of all sub-batches, cropped to one length.
            sub_batch_sizes: b of each sub-batch; they sum to B.
            masks: Masked frames (True); every row of a sub-batch has as many, M.
            negatives: Per sub-batch, positions among the masked frames of the same utterance
                (`masking.sample_negatives`).
            cross_negatives: Per sub-batch, positions among all its masked frames (`masking.sample_cross_negatives`).
            codebook_negatives: Per sub-batch, entries of the codebooks (`masking.sample_codes`).
            gumbel_temperature: Of the quantiser, in training.
            layer_keep: For each Transformer layer whether LayerDrop keeps it; None keeps all.
            return_logits: Keep the logits in the output.

        Shape: waveform [B, S], masks [B, T], negatives of [b, M, N], cross_negatives of [b, M, N'], codebook_negatives
            of [b, M, K, G].

        Raises:
            ValueError: If sizes, masks and negatives do not fit together.
        """
        _check_sub_batches(waveform.shape[0], sub_batch_sizes, negatives)
        shapes = [(b, negative.shape[1]) for b, negative in zip(sub_batch_sizes, negatives, strict=True)]
        out: BackboneOutput = self.backbone(waveform, time_mask=masks, layer_keep=layer_keep)
        where = masked_positions(masks, shapes)
        context = self.context_proj(out.context.flatten(0, 1).index_select(0, where))
        features = out.normed_features.flatten(0, 1).index_select(0, where)
        features = dropout(features, self.dropout_features, self.training)
        frames = [b * m for b, m in shapes]
        codes: QuantizerOutput = self.quantizer(features, gumbel_temperature, frames)
        targets = self._targets(codes.vectors)
        logits = self._logits(context, targets, codes.code_ids, shapes, negatives)
        if cross_negatives is not None:
            logits = self._with_cross(logits, context, targets, codes.code_ids, cross_negatives)
        if codebook_negatives is not None:
            logits = self._with_codes(logits, context, codes.code_ids, codebook_negatives)
        return self._output(logits, codes, out.features, frames, return_logits)

    def _targets(self, vectors: Tensor) -> Tensor:
        """Codes as they are compared. Shape: [n, code_dim] -> [n, F]."""
        targets: Tensor = self.target_proj(vectors)
        return targets if self.target_glu is None else F.glu(self.target_glu(targets))

    def _with_cross(
        self, logits: list[Tensor], context: Tensor, targets: Tensor, code_ids: Tensor, negatives: Sequence[Tensor]
    ) -> list[Tensor]:
        """Logits with those of distractors from the whole sub-batch behind them."""
        sizes = [part.shape[0] * part.shape[1] for part in negatives]
        own = (torch.split(part, sizes) for part in (context, targets, code_ids))
        more = [
            pooled_logits(c, t, ids, drawn.flatten(0, 1), self.logit_temperature)
            for c, t, ids, drawn in zip(*own, negatives, strict=True)
        ]
        return [torch.cat([part, m.view(*part.shape[:2], -1)], dim=2) for part, m in zip(logits, more, strict=True)]

    def _with_codes(
        self, logits: list[Tensor], context: Tensor, code_ids: Tensor, negatives: Sequence[Tensor]
    ) -> list[Tensor]:
        """Logits with those of codes from the codebooks behind them; each frame's codes are its own."""
        sizes = [part.shape[0] * part.shape[1] for part in negatives]
        more = []
        for c, ids, drawn in zip(*(torch.split(part, sizes) for part in (context, code_ids)), negatives, strict=True):
            vectors, drawn_ids = self.quantizer.vectors_of(drawn.flatten(0, 2))
            targets = self._targets(vectors).view(len(c), drawn.shape[2], -1)
            identical = drawn_ids.view(len(c), -1) == ids[:, None]
            more.append(own_logits(c, targets, identical, self.logit_temperature))
        return [torch.cat([part, m.view(*part.shape[:2], -1)], dim=2) for part, m in zip(logits, more, strict=True)]

    def _logits(
        self,
        context: Tensor,
        targets: Tensor,
        code_ids: Tensor,
        shapes: Sequence[tuple[int, int]],
        negatives: Sequence[Tensor],
    ) -> list[Tensor]:
        """Shape: context and targets [n, F], code_ids [n] -> per sub-batch [b, M, 1 + N]."""
        logits = []
        start = 0
        for (b, m), negative in zip(shapes, negatives, strict=True):
            own = slice(start, start + b * m)
            start += b * m
            logits.append(
                contrastive_logits(
                    context[own].view(b, m, -1),
                    targets[own].view(b, m, -1),
                    code_ids[own].view(b, m),
                    negative,
                    self.logit_temperature,
                )
            )
        return logits

    def _output(
        self, logits: list[Tensor], codes: QuantizerOutput, features: Tensor, frames: list[int], return_logits: bool
    ) -> PretrainOutput:
        n = sum(frames)
        contrastive = torch.stack([contrastive_loss(part) for part in logits]).sum()
        diversity = self._diversity(codes.prob_perplexity, frames)
        mean_square = features.float().square().mean()
        penalty = n * self.features_penalty_weight * mean_square
        return PretrainOutput(
            loss_sum=contrastive + diversity + penalty,
            contrastive=contrastive.detach(),
            diversity=diversity.detach(),
            features_penalty=penalty.detach(),
            sample_size=n,
            correct=torch.stack([count_correct(part.detach()) for part in logits]).sum(),
            prob_perplexity=codes.prob_perplexity.detach().mean(),
            code_perplexity=codes.code_perplexity.mean(),
            prob_perplexities=codes.prob_perplexity.detach(),
            code_perplexities=codes.code_perplexity,
            features_mean_square=mean_square.detach(),
            logits=[part.detach() for part in logits] if return_logits else None,
        )

    def _diversity(self, perplexities: Tensor, frames: list[int]) -> Tensor:
        unused = (self.quantizer.num_codes - perplexities) / self.quantizer.num_codes
        if self.concat_diversity == "last":
            return sum(frames) * self.diversity_weight * unused[-1]
        # Weights by a Python loop over sub-batches: no small tensor travels to the device.
        return self.diversity_weight * torch.stack([n * part for n, part in zip(frames, unused, strict=True)]).sum()


def _check_sub_batches(batch: int, sub_batch_sizes: Sequence[int], negatives: Sequence[Tensor]) -> None:
    if sum(sub_batch_sizes) != batch:
        raise ValueError(f"sub_batch_sizes {list(sub_batch_sizes)} do not sum to the batch of {batch} rows")
    if len(negatives) != len(sub_batch_sizes):
        raise ValueError(f"negatives for {len(negatives)} sub-batches, but there are {len(sub_batch_sizes)}")
    for index, (size, negative) in enumerate(zip(sub_batch_sizes, negatives, strict=True)):
        if negative.shape[0] != size:
            raise ValueError(f"negatives of sub-batch {index} have {negative.shape[0]} rows, the sub-batch {size}")


def masked_positions(masks: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Return the positions of masked frames among all B·T, in the order sub-batch, utterance, time.

    The counts are known from `shapes` (rows, masked frames a row), so unlike boolean indexing this does not wait for
    the device. A stable sort puts each row's masked frames first, in order of time.

    Shape: [B, T] -> [n].
    """
    B, T = masks.shape
    order = masks.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    order = order + torch.arange(B, device=masks.device)[:, None] * T
    parts = torch.split(order, [b for b, _ in shapes])
    return torch.cat([part[:, :m].flatten() for part, (_, m) in zip(parts, shapes, strict=True)])
