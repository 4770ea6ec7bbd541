"""The contrastive task: tell a masked frame's own target among those of other masked frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_logits(
    context: Tensor, targets: Tensor, code_ids: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """Return similarities of each masked frame to its target (class 0) and its negatives, over a temperature.

    Every negative is another masked frame of the same utterance, so all cosines there can be are one [M, M] matrix an
    utterance, and negatives are picked from it: no [B, M, N, F] tensor of negative vectors is ever made. A negative
    whose code equals the target's gets -inf. Computed in fp32. Source: wav2vec 2.0, equation 3.

    Args:
        context: Projected context at masked frames.
        targets: Projected quantised features at the same frames.
        code_ids: Equal where targets are.
        negatives: Positions among the utterance's masked frames.
        temperature: Cosines are divided by it.

    Shape: context and targets [B, M, F], code_ids [B, M], negatives [B, M, N] -> [B, M, 1 + N].
    """
    B, M, N = negatives.shape
    with torch.autocast(context.device.type, enabled=False):
        unit_context = F.normalize(context.float(), dim=2, eps=1e-8)
        unit_targets = F.normalize(targets.float(), dim=2, eps=1e-8)
        similarities = torch.bmm(unit_context, unit_targets.transpose(1, 2)) / temperature
    own = torch.arange(M, device=negatives.device).view(1, M, 1).expand(B, M, 1)
    logits = similarities.gather(2, torch.cat([own, negatives], dim=2))
    negative_ids = code_ids.gather(1, negatives.flatten(1)).view(B, M, N)
    identical = F.pad(negative_ids == code_ids[:, :, None], (1, 0), value=False)
    return logits.masked_fill(identical, -torch.inf)


def pooled_logits(context: Tensor, targets: Tensor, code_ids: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Return similarities of each masked frame to others of a whole sub-batch, as `contrastive_logits` has them.

    Like there they are picked from the matrix of all: picking vectors instead would add up their gradients in an order
    that threads decide.

    Args:
        context: Projected context at masked frames.
        targets: Projected quantised features at the same frames.
        code_ids: Equal where targets are.
        negatives: Positions among these frames.
        temperature: Cosines are divided by it.

    Shape: context and targets [n, F], code_ids [n], negatives [n, N] -> [n, N].
    """
    one = contrastive_logits(context[None], targets[None], code_ids[None], negatives[None], temperature)
    return one[0, :, 1:]


def own_logits(context: Tensor, targets: Tensor, identical: Tensor, temperature: float) -> Tensor:
    """Return similarities of each masked frame to distractors that are its alone, as `contrastive_logits` has them.

    Args:
        context: Projected context at masked frames.
        targets: Projected distractors.
        identical: Which of them are the frame's own target; these get -inf.
        temperature: Cosines are divided by it.

    Shape: context [n, F], targets [n, N, F], identical [n, N] -> [n, N].
    """
    with torch.autocast(context.device.type, enabled=False):
        unit_context = F.normalize(context.float(), dim=1, eps=1e-8)
        unit_targets = F.normalize(targets.float(), dim=2, eps=1e-8)
        logits = torch.bmm(unit_targets, unit_context[:, :, None])[:, :, 0] / temperature
    return logits.masked_fill(identical, -torch.inf)


def contrastive_loss(logits: Tensor) -> Tensor:
    """Return the cross-entropy with class 0, in nats, summed over frames.

    Shape: [..., 1 + N] -> [].
    """
    return (logits.logsumexp(-1) - logits[..., 0]).sum()


def count_correct(logits: Tensor) -> Tensor:
    """Count the frames whose largest logit is class 0; one whose logits are all equal does not count.

    Shape: [..., 1 + N] -> [] (int64).
    """
    own, others = logits[..., 0], logits[..., 1:]
    # A frame all of whose negatives are -inf counts, as argmax and argmin differ there.
    return ((own >= others.amax(-1)) & ~(own <= others.amin(-1))).sum()
