from __future__ import annotations

import torch
import torch.nn.functional as F

from w2v2_ray.model.contrastive import contrastive_logits, contrastive_loss, count_correct


def test_logits_and_gradients_equal_those_of_gathered_negatives() -> None:
    B, M, N, dim = 2, 7, 5, 6
    rows = torch.randn(4, dim)
    code_ids = torch.randint(0, 4, (B, M))
    negatives = torch.randint(0, M - 1, (B, M, N))
    negatives += negatives >= torch.arange(M)[None, :, None]
    context = torch.randn(B, M, dim, requires_grad=True)
    targets = rows[code_ids].requires_grad_()

    ours = contrastive_logits(context, targets, code_ids, negatives, 0.1)
    contrastive_loss(ours).backward()
    gradients = context.grad, targets.grad
    context.grad = targets.grad = None

    gathered = torch.stack([targets[b][negatives[b]] for b in range(B)])
    candidates = torch.cat([targets[:, :, None], gathered], dim=2)
    naive = F.cosine_similarity(context[:, :, None], candidates, dim=3) / 0.1
    identical = (gathered == targets[:, :, None]).all(3)
    assert identical.any()
    naive = naive.masked_fill(F.pad(identical, (1, 0)), -torch.inf)
    F.cross_entropy(naive.flatten(0, 1), torch.zeros(B * M, dtype=torch.int64), reduction="sum").backward()

    torch.testing.assert_close(ours, naive, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[0], context.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[1], targets.grad, rtol=1e-4, atol=1e-5)


def test_logits_are_fp32_for_bf16_inputs_and_under_autocast() -> None:
    x = torch.randn(1, 4, 8)
    ids, negatives = torch.arange(4)[None], torch.tensor([[[1], [2], [3], [0]]])
    exact = contrastive_logits(x, x.flip(1), ids, negatives, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contrastive_logits(x, x.flip(1), ids, negatives, 0.1), exact)
    assert contrastive_logits(x.bfloat16(), x.bfloat16(), ids, negatives, 0.1).dtype == torch.float32


def test_a_frame_counts_as_correct_when_its_target_wins_and_not_when_all_are_equal() -> None:
    inf = torch.inf
    logits = torch.tensor(
        [[3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [0.0, 1.0, -1.0], [2.0, 2.0, 1.0], [1.0, -inf, -inf], [-1.0, 0.0, 1.0]]
    )
    both_zero = (logits.argmax(1) == 0) & (logits.argmin(1) == 0)
    expected = ((logits.argmax(1) == 0) & ~both_zero).sum()
    assert expected == 3
    assert count_correct(logits) == expected
