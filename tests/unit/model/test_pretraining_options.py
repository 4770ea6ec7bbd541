"""A deeper quantizer, gated targets, further distractors and other activations against plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from model_helpers import MicroBatch

from w2v2_ray.model.contrastive import own_logits, pooled_logits
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.model.layer import TransformerLayer
from w2v2_ray.model.masking import sample_codes, sample_cross_negatives
from w2v2_ray.model.pretraining import Wav2Vec2PretrainModel
from w2v2_ray.model.quantizer import GumbelQuantizer
from w2v2_ray.spec.model import ContrastiveLossSpec, ModelSpec
from w2v2_ray.spec.parameter_count import count_parameters

SpecBuilder = Callable[..., ModelSpec]


def optional_model(small_spec: SpecBuilder) -> Wav2Vec2PretrainModel:
    torch.manual_seed(3)
    base = small_spec()
    quantizer = base.quantizer.model_copy(update={"depth": 3, "factor": 2})
    spec = base.model_copy(update={"quantizer": quantizer, "target_glu": True})
    loss = ContrastiveLossSpec(negatives=6, cross_sample_negatives=4, codebook_negatives=5)
    model = build_pretrain_model(spec, loss).double().eval()
    assert sum(count_parameters(spec).values()) == sum(p.numel() for p in model.parameters())
    return model


def more_negatives(batch: MicroBatch) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    rng = np.random.default_rng(4)
    shapes = [(len(part), part.shape[1]) for part in batch.negatives]
    cross = [torch.from_numpy(sample_cross_negatives(rng, b, m, 4)) for b, m in shapes]
    codes = [torch.from_numpy(sample_codes(rng, b, m, 5, 2, 8)) for b, m in shapes]
    return cross, codes


def plain_logits(
    model: Wav2Vec2PretrainModel, batch: MicroBatch, cross: list[torch.Tensor], codes: list[torch.Tensor]
) -> list[list[list[float]]]:
    """A frame at a time: vectors of every distractor, cosines by their definition."""
    out = model.backbone(batch.waveform.double(), time_mask=batch.masks)
    q, glu = model.quantizer, model.target_glu
    assert glu is not None
    half = glu.out_features // 2

    def target(entries: list[int]) -> torch.Tensor:
        vector = torch.cat([q.codebook[g, v] for g, v in enumerate(entries)])
        both = glu.weight @ (model.target_proj.weight @ vector + model.target_proj.bias) + glu.bias
        return both[:half] / (1 + torch.exp(-both[half:]))

    def entries_of(frame: torch.Tensor) -> list[int]:
        x = frame
        for layer in q.hidden:
            x = layer.weight @ x + layer.bias  # type: ignore[operator]
            x = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
        scores = q.logits_proj.weight @ x + q.logits_proj.bias
        return [int(part.argmax()) for part in scores.view(q.num_codebooks, q.num_entries)]

    found, row = [], 0
    for size, near, far, coded in zip(batch.sizes, batch.negatives, cross, codes, strict=True):
        where = [torch.nonzero(batch.masks[row + r])[:, 0].tolist() for r in range(size)]
        chosen = [[entries_of(out.normed_features[row + r, t]) for t in where[r]] for r in range(size)]
        flat = [entries for utterance in chosen for entries in utterance]
        frames = []
        for r in range(size):
            for m, t in enumerate(where[r]):
                context = model.context_proj(out.context[row + r, t])
                others = [chosen[r][i] for i in near[r, m].tolist()] + [flat[i] for i in far[r, m].tolist()]
                others += coded[r, m].tolist()
                own = chosen[r][m]
                line = []
                for place, entries in enumerate([own, *others]):
                    vector = target(entries)
                    cosine = float(context @ vector / (context.norm() * vector.norm()))
                    line.append(-math.inf if place and entries == own else cosine / model.logit_temperature)
                frames.append(line)
        found.append(frames)
        row += size
    return found


def test_logits_of_every_option_together_are_those_of_plain_loops(
    small_spec: SpecBuilder, micro_batch: MicroBatch
) -> None:
    model = optional_model(small_spec)
    cross, codes = more_negatives(micro_batch)
    with torch.no_grad():
        out = model(
            *micro_batch, cross_negatives=cross, codebook_negatives=codes, gumbel_temperature=1.0, return_logits=True
        )
        expected = plain_logits(model, micro_batch, cross, codes)
    assert out.logits is not None
    total = 0.0
    for ours, plain in zip(out.logits, expected, strict=True):
        assert ours.shape[2] == 1 + 6 + 4 + 5
        # Features and cosines are fp32 in the model, whatever its weights are.
        torch.testing.assert_close(ours.flatten(0, 1).double(), torch.tensor(plain).double(), rtol=1e-4, atol=2e-4)
        total += sum(math.log(sum(math.exp(x) for x in line)) - line[0] for line in plain)
    assert float(out.contrastive) == pytest.approx(total, rel=1e-5)


def test_gradients_reach_what_the_options_add(small_spec: SpecBuilder, micro_batch: MicroBatch) -> None:
    model = optional_model(small_spec).float().train()
    cross, codes = more_negatives(micro_batch)
    out = model(*micro_batch, cross_negatives=cross, codebook_negatives=codes, gumbel_temperature=1.0)
    out.loss_sum.backward()
    assert model.target_glu is not None
    for module in (model.target_glu, *model.quantizer.hidden):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_gradients_are_the_same_each_time_on_two_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    context, targets = torch.randn(2, 800, 32, generator=generator)
    cross = torch.from_numpy(sample_cross_negatives(np.random.default_rng(0), 2, 400, 100)).flatten(0, 1)
    codes = torch.from_numpy(sample_codes(np.random.default_rng(0), 2, 400, 50, 2, 8)).flatten(0, 2)
    quantizer, ids = GumbelQuantizer(6, 2, 8, 32), torch.arange(800)
    threads = torch.get_num_threads()

    def gradients() -> list[torch.Tensor]:
        leaf = targets.clone().requires_grad_()
        pooled = pooled_logits(context, leaf, ids, cross, 0.1)
        vectors, code_ids = quantizer.vectors_of(codes)
        identical = code_ids.view(800, 50) == ids[:, None]
        own = own_logits(context, vectors.view(800, 50, 32), identical, 0.1)
        loss = torch.cat([pooled, own], dim=1).logsumexp(1).sum()
        return list(torch.autograd.grad(loss, [leaf, quantizer.codebook]))

    try:
        torch.set_num_threads(2)
        first = gradients()
        for _ in range(10):
            assert all(torch.equal(one, other) for one, other in zip(first, gradients(), strict=True))
    finally:
        torch.set_num_threads(threads)


def test_cross_sample_negatives_are_uniform_over_the_other_frames_of_the_sub_batch() -> None:
    drawn = sample_cross_negatives(np.random.default_rng(0), 3, 4, 22_000)
    for own, row in enumerate(drawn.reshape(12, -1)):
        counts = np.bincount(row, minlength=12)
        assert counts[own] == 0
        assert np.abs(np.delete(counts, own) - 2_000).max() < 5 * math.sqrt(2_000)


def test_codebook_negatives_are_uniform_over_all_codes() -> None:
    drawn = sample_codes(np.random.default_rng(0), 2, 3, 4_000, 2, 4)
    counts = np.bincount((drawn[..., 0] * 4 + drawn[..., 1]).ravel(), minlength=16)
    assert np.abs(counts - 1_500).max() < 5 * math.sqrt(1_500)


def test_a_quantizer_of_one_layer_begins_as_it_did() -> None:
    torch.manual_seed(0)
    one = GumbelQuantizer(6, 2, 9, 8)
    torch.manual_seed(0)
    weight = torch.nn.init.normal_(torch.nn.Linear(6, 18).weight)  # nothing else is drawn before it
    assert [name for name, _ in one.named_parameters()] == ["codebook", "logits_proj.weight", "logits_proj.bias"]
    torch.testing.assert_close(one.logits_proj.weight, weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("gelu", lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))),
        ("relu", lambda x: max(x, 0.0)),
        ("silu", lambda x: x / (1 + math.exp(-x))),
        ("tanh", math.tanh),
    ],
)
def test_the_feed_forward_block_has_the_activation_asked_for(name: str, plain: Callable[[float], float]) -> None:
    torch.manual_seed(0)
    layer = TransformerLayer(4, 6, 2, activation=name).double()  # type: ignore[arg-type]
    x = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    middle = layer.attention_norm(x + layer.attention(x, None))
    hidden = (middle @ layer.ffn_in.weight.T + layer.ffn_in.bias).detach()
    activated = torch.tensor([[[plain(float(value)) for value in row] for row in part] for part in hidden]).double()
    expected = layer.ffn_norm(middle + activated @ layer.ffn_out.weight.T + layer.ffn_out.bias)
    torch.testing.assert_close(layer(x), expected)
    assert torch.autograd.gradcheck(layer, x)
