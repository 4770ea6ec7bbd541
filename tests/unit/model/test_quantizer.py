from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from w2v2_ray.model.quantizer import GumbelQuantizer


def naive(quantizer: GumbelQuantizer, x: Tensor, temperature: float) -> Tensor:
    """The one-hot x codebook product that the quantiser avoids."""
    logits = quantizer.logits_proj(x).view(-1, quantizer.num_entries)
    if quantizer.training:
        weights = F.gumbel_softmax(logits.float(), tau=temperature, hard=True)
    else:
        weights = F.one_hot(logits.argmax(1), quantizer.num_entries).float()
    weights = weights.view(len(x), quantizer.num_codebooks, quantizer.num_entries)
    return torch.einsum("ngv,gvd->ngd", weights, quantizer.codebook).flatten(1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("codebooks", [1, 2, 3])
def test_values_and_gradients_equal_those_of_the_one_hot_product(training: bool, codebooks: int) -> None:
    quantizer = GumbelQuantizer(10, codebooks, 7, 12).train(training)
    x = torch.randn(40, 10)
    grad = torch.randn(40, 12)
    results = []
    for compute in (lambda y: quantizer(y, 1.3).vectors, lambda y: naive(quantizer, y, 1.3)):
        quantizer.zero_grad()
        inputs = x.clone().requires_grad_()
        torch.manual_seed(0)
        out = compute(inputs)
        (out * grad).sum().backward()
        results.append((out, inputs.grad, quantizer.codebook.grad, quantizer.logits_proj.weight.grad))
    (out, *grads), (naive_out, *naive_grads) = results
    torch.testing.assert_close(out, naive_out, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(grads, naive_grads, strict=True):
        if training or ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        else:
            assert theirs is None
    assert (results[0][1] is not None) is training


def test_nothing_of_the_size_of_all_codebooks_is_kept_for_backward_but_the_probabilities() -> None:
    quantizer = GumbelQuantizer(8, 2, 50, 64)
    saved: list[tuple[int, ...]] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        quantizer(torch.randn(200, 8), 1.0)
    assert max(math.prod(shape) for shape in saved) == 200 * 2 * 50


def test_perplexities_are_those_of_each_sub_batch_alone() -> None:
    quantizer = GumbelQuantizer(6, 2, 9, 8)
    x = torch.randn(50, 6)
    out = quantizer(x, 2.0, [20, 30])
    for index, part in enumerate((x[:20], x[20:])):
        alone = quantizer(part, 2.0)
        torch.testing.assert_close(out.prob_perplexity[index], alone.prob_perplexity[0])
        torch.testing.assert_close(out.code_perplexity[index], alone.code_perplexity[0])


def test_perplexity_is_all_codes_when_even_and_one_per_codebook_when_collapsed() -> None:
    quantizer = GumbelQuantizer(4, 2, 4, 8)
    with torch.no_grad():
        quantizer.logits_proj.weight.copy_(50 * torch.cat([torch.eye(4), torch.eye(4)]))
    even = quantizer(torch.eye(4), 1.0)
    assert even.prob_perplexity.item() == pytest.approx(8.0, abs=1e-3)
    assert even.code_perplexity.item() == pytest.approx(8.0, abs=1e-3)
    collapsed = quantizer(torch.eye(4)[:1].repeat(5, 1), 1.0)
    assert collapsed.prob_perplexity.item() == pytest.approx(2.0, abs=1e-3)
    assert collapsed.code_perplexity.item() == pytest.approx(2.0, abs=1e-3)


def test_code_ids_are_equal_exactly_where_vectors_are() -> None:
    quantizer = GumbelQuantizer(4, 2, 3, 8)
    out = quantizer(torch.randn(60, 4), 1.0)
    same_vectors = (out.vectors[:, None] == out.vectors[None]).all(2)
    assert torch.equal(same_vectors, out.code_ids[:, None] == out.code_ids[None])


def test_a_bf16_quantizer_computes_its_statistics_in_fp32() -> None:
    quantizer = GumbelQuantizer(8, 2, 20, 16).bfloat16()
    out = quantizer(torch.randn(30, 8).bfloat16(), 1.0)
    assert out.vectors.dtype == torch.bfloat16
    assert out.prob_perplexity.dtype == torch.float32
    (out.vectors.float().sum() + out.prob_perplexity.sum()).backward()
    assert quantizer.codebook.grad is not None
    assert quantizer.codebook.grad.dtype == torch.bfloat16


def test_logits_start_at_unit_deviation_and_entries_uniform() -> None:
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(64, 2, 320, 256)
    assert quantizer.logits_proj.weight.std().item() == pytest.approx(1.0, rel=0.02)
    assert quantizer.codebook.min().item() >= 0
    assert quantizer.codebook.mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("codebooks", "entries", "match"), [(3, 8, "does not divide"), (16, 320, "2\\^63")])
def test_impossible_sizes_are_refused(codebooks: int, entries: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        GumbelQuantizer(8, codebooks, entries, 32)
