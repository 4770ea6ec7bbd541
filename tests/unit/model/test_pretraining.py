from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from model_helpers import HOURGLASS, MicroBatch
from torch.utils._python_dispatch import TorchDispatchMode

from w2v2_ray.model.cpu import dropping
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.model.feature_encoder import FeatureEncoder
from w2v2_ray.model.pretraining import ConcatDiversity
from w2v2_ray.spec.model import ContrastiveLossSpec, ModelSpec

SpecBuilder = Callable[..., ModelSpec]
KINDS = [{}, {"norm_first": True}, {"hourglass": HOURGLASS}]


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_finite_gradient(
    kind: dict[str, Any], small_spec: SpecBuilder, micro_batch: MicroBatch
) -> None:
    model = build_pretrain_model(small_spec(0.1, **kind))
    out = model(*micro_batch, gumbel_temperature=2.0, layer_keep=[True, False, True, True])
    out.loss_sum.backward()
    assert out.sample_size == int(micro_batch.masks.sum())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("concat_diversity", ["each", "last"])
def test_the_sum_of_the_terms_is_the_loss(
    concat_diversity: ConcatDiversity, small_spec: SpecBuilder, micro_batch: MicroBatch
) -> None:
    loss = ContrastiveLossSpec(diversity_weight=0.3, features_penalty_weight=2.0)
    model = build_pretrain_model(small_spec(), loss, concat_diversity=concat_diversity)
    out = model(*micro_batch, gumbel_temperature=2.0)
    codes = 16
    n = out.sample_size
    first, last = (negative.shape[0] * negative.shape[1] for negative in micro_batch.negatives)
    assert first + last == n
    frames = torch.tensor([0.0, n] if concat_diversity == "last" else [first, last])
    torch.testing.assert_close(out.loss_sum, out.contrastive + out.diversity + out.features_penalty)
    torch.testing.assert_close(out.diversity, (frames * 0.3 * (codes - out.prob_perplexities) / codes).sum())
    torch.testing.assert_close(out.features_penalty, n * 2.0 * out.features_mean_square)


def test_concatenated_sub_batches_contrast_as_they_would_alone(
    small_spec: SpecBuilder, micro_batch: MicroBatch
) -> None:
    model = build_pretrain_model(small_spec(hourglass=HOURGLASS))
    model.quantizer.eval()
    together = model(*micro_batch, gumbel_temperature=1.0, return_logits=True)
    start = 0
    diversity = torch.zeros(())
    for index, size in enumerate(micro_batch.sizes):
        rows = slice(start, start + size)
        start += size
        alone = model(
            micro_batch.waveform[rows],
            [size],
            micro_batch.masks[rows],
            [micro_batch.negatives[index]],
            gumbel_temperature=1.0,
            return_logits=True,
        )
        diversity = diversity + alone.diversity
        torch.testing.assert_close(together.logits[index], alone.logits[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.prob_perplexities[index], alone.prob_perplexity)
    torch.testing.assert_close(together.diversity, diversity)


def test_the_same_seed_gives_the_same_loss_and_another_seed_another(
    small_spec: SpecBuilder, micro_batch: MicroBatch
) -> None:
    model = build_pretrain_model(small_spec(0.1))
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model(*micro_batch, gumbel_temperature=2.0).loss_sum.item())
    assert losses[0] == losses[1] != losses[2]


def test_unmasked_frames_of_the_waveform_are_all_that_the_context_depends_on(
    small_spec: SpecBuilder, micro_batch: MicroBatch
) -> None:
    model = build_pretrain_model(small_spec()).eval()
    everything = torch.ones_like(micro_batch.masks)
    first = model.backbone(micro_batch.waveform, time_mask=everything).context
    second = model.backbone(torch.randn_like(micro_batch.waveform), time_mask=everything).context
    assert torch.equal(first, second)
    assert not torch.allclose(model.backbone(micro_batch.waveform).context, first)


def test_a_bf16_model_trains_with_an_fp32_loss(small_spec: SpecBuilder, micro_batch: MicroBatch) -> None:
    model = build_pretrain_model(small_spec(hourglass=HOURGLASS))
    model.quantizer.eval()
    exact = model(*micro_batch, gumbel_temperature=2.0).loss_sum
    out = model.bfloat16()(*micro_batch, gumbel_temperature=2.0, return_logits=True)
    assert out.loss_sum.dtype == out.logits[0].dtype == out.prob_perplexity.dtype == torch.float32
    out.loss_sum.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.bfloat16 for p in model.parameters())
    assert out.loss_sum.item() == pytest.approx(exact.item(), rel=0.05)


class _ForbidHostSync(TorchDispatchMode):
    """Fails on the operators that make a device wait for the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in {"_local_scalar_dense", "nonzero", "masked_select", "bincount", "unique", "item"}, name
        return func(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the paths that a GPU takes: those of CPUs alone need not mind the host, which is the device there."""
    monkeypatch.setattr(FeatureEncoder, "_by_rows", lambda self, waveform: False)
    monkeypatch.setattr(dropping, "draws_here", lambda x: False)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_the_step_waits_for_the_device(
    kind: dict[str, Any], small_spec: SpecBuilder, micro_batch: MicroBatch
) -> None:
    model = build_pretrain_model(small_spec(0.1, **kind))
    with _ForbidHostSync():
        model(*micro_batch, gumbel_temperature=2.0, layer_keep=[True, True, False, True]).loss_sum.backward()
    with pytest.raises(AssertionError, match="nonzero"), _ForbidHostSync():
        micro_batch.waveform.flatten(0)[:10].nonzero()


@pytest.mark.usefixtures("as_on_a_gpu")
def test_no_tensor_of_negative_vectors_is_made(small_spec: SpecBuilder, micro_batch: MicroBatch) -> None:
    model = build_pretrain_model(small_spec())
    vectors = max(negative.numel() for negative in micro_batch.negatives) * 16
    shapes: list[int] = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.shape[-1:] == (16,) and out.ndim >= 3:
                shapes.append(out.numel())
            return out

    features = model.backbone(micro_batch.waveform).features.numel()
    with Record():
        model(*micro_batch, gumbel_temperature=2.0).loss_sum.backward()
    assert features < vectors
    assert max((n for n in shapes if n != features), default=0) < vectors


def test_sub_batches_that_do_not_fit_are_refused(small_spec: SpecBuilder, micro_batch: MicroBatch) -> None:
    model = build_pretrain_model(small_spec())
    waveform, _, masks, negatives = micro_batch
    with pytest.raises(ValueError, match="do not sum to the batch of 5 rows"):
        model(waveform, [2, 2], masks, negatives, gumbel_temperature=1.0)
    with pytest.raises(ValueError, match="there are 1"):
        model(waveform, [5], masks, negatives, gumbel_temperature=1.0)
    with pytest.raises(ValueError, match="sub-batch 0 have 2 rows, the sub-batch 3"):
        model(waveform, [3, 2], masks, negatives, gumbel_temperature=1.0)
