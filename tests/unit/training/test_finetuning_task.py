"""Fine-tuning as the trainer sees it: what is used, what it costs, and that company changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import jiwer
import numpy as np
import pytest
import torch

from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.data.text import Tokenizer
from w2v2_ray.errors import DatasetError
from w2v2_ray.model.ctc import CtcOutput, consistency_loss
from w2v2_ray.model.waveforms import normalise_valid
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.symbols import SPECIALS
from w2v2_ray.spec.text import TextSpec
from w2v2_ray.training.objectives.data import open_data
from w2v2_ray.training.objectives.finetuning.objective import FinetuneObjective, tokenizer_of
from w2v2_ray.training.objectives.finetuning.selection import select_utterances
from w2v2_ray.training.objectives.finetuning.start import resolve
from w2v2_ray.training.objectives.finetuning.task import (
    SUMS,
    FinetuneTask,
    best_paths,
    build_plan,
)

CPU = torch.device("cpu")


def ready(job, tmp_path):
    """The job as the driver settles it, its model and its task."""
    run = RunFolder(tmp_path / job.name)
    run.create()
    job = resolve(job, run)
    training = FinetuneObjective().set_up(job, run, CPU)
    return job, training.model, training.task


def sums_of(task, model, index, update=1):
    loss, counts = task.forward(model, task.micro_batch(index), update)
    return loss, dict(zip(SUMS, counts.tolist(), strict=True))


def test_every_usable_utterance_is_used_once_an_epoch(finetune_job, tmp_path):
    _, _, task = ready(finetune_job(), tmp_path)
    used = Counter()
    index = 0
    while task.plan.epoch_of(index) < 2:
        used.update(task.used(index))
        index += 1
    first_two = [count for (epoch, _), count in used.items() if epoch < 2]
    assert len(first_two) == 2 * 36
    assert set(first_two) == {1}


def test_the_weight_is_the_utterances_that_forward_counts(finetune_job, tmp_path):
    _, model, task = ready(finetune_job(), tmp_path)
    for index in (0, 2):
        _, sums = sums_of(task, model, index)
        assert task.weight(index) == sums["utterances"] == len(task.micro_batch(index).utterances)
        assert sums["words"] == 0


def test_a_micro_batch_gives_the_same_loss_whenever_it_is_run(finetune_job, tmp_path):
    _, model, task = ready(finetune_job(), tmp_path)
    model.train()
    first, _ = sums_of(task, model, 3)
    torch.rand(7)
    sums_of(task, model, 1)
    again, _ = sums_of(task, model, 3)
    assert torch.equal(first, again)


def test_in_evaluation_company_changes_neither_loss_nor_words(finetune_job, tmp_path):
    _, together_model, together = ready(finetune_job({"batch.concat": 5, "name": "a"}), tmp_path)
    _, _, alone = ready(finetune_job({"batch.max_tokens": 20_000, "name": "b"}), tmp_path)
    together_model.eval()

    def totals(task):
        losses: dict[str, float] = {}
        index = 0
        while task.plan.epoch_of(index) < 1:
            batch = task.micro_batch(index)
            index += 1
            for row, (_, name) in enumerate(task.used(batch.index)):
                one = replace(
                    batch,
                    waveform=batch.waveform[row : row + 1],
                    lengths=batch.lengths[row : row + 1],
                    targets=batch.targets[batch.target_lengths[:row].sum() : batch.target_lengths[: row + 1].sum()],
                    target_lengths=batch.target_lengths[row : row + 1],
                    utterances=batch.utterances[row : row + 1],
                )
                losses[name] = float(task.forward(together_model, one, 1)[0])
        return losses

    with torch.no_grad():
        padded, short = totals(together), totals(alone)
    assert short.keys() <= padded.keys()
    for name, loss in short.items():
        assert padded[name] == pytest.approx(loss, rel=2e-5)


def test_masks_never_fall_on_padding(finetune_job, tmp_path):
    job, _, task = ready(finetune_job({"batch.concat": 5}), tmp_path)
    batch = task.micro_batch(0)
    frames = [job.model.feature_encoder.num_frames(int(length)) for length in batch.lengths]
    assert batch.time_mask.shape == (len(frames), max(frames))
    assert len(set(frames)) > 1
    for row, count in zip(batch.time_mask, frames, strict=True):
        assert not row[count:].any()
        assert row[:count].any()
    assert batch.channel_mask.shape == (len(frames), job.model.encoder.dim)


def test_nothing_is_masked_or_dropped_in_evaluation(finetune_job, tmp_path):
    _, model, task = ready(finetune_job(), tmp_path)
    model.eval()
    batch = task.micro_batch(0)
    assert batch.layer_keep is not None
    bare = replace(batch, time_mask=None, channel_mask=None, layer_keep=None)
    assert torch.equal(task.forward(model, batch, 1)[0], task.forward(model, bare, 1)[0])


def test_a_frozen_backbone_gets_no_gradient_until_it_thaws(finetune_job, tmp_path):
    _, model, task = ready(finetune_job({"freeze_updates": 2, "optim.weight_decay": 0.0}), tmp_path)
    model.train()
    for update, frozen in ((2, True), (3, False)):
        model.zero_grad(set_to_none=True)
        sums_of(task, model, 0, update)[0].backward()
        assert model.head.weight.grad is not None
        assert (model.backbone.input_proj.weight.grad is None) == frozen


def test_a_feature_encoder_without_gradient_is_frozen(finetune_job, tmp_path):
    _, model, _ = ready(finetune_job(), tmp_path)
    assert not any(parameter.requires_grad for parameter in model.backbone.feature_encoder.parameters())
    _, other, _ = ready(finetune_job({"regularisation.feature_gradient_scale": 1.0, "name": "other"}), tmp_path)
    assert all(parameter.requires_grad for parameter in other.backbone.feature_encoder.parameters())


def test_errors_in_evaluation_are_those_of_the_best_paths(finetune_job, tmp_path):
    job, model, task = ready(finetune_job(), tmp_path)
    model.eval()
    with torch.no_grad():
        model.head.bias.copy_(torch.linspace(0, 1, len(model.head.bias)))
    batch = task.micro_batch(0)
    figures = task.figures(sums_of(task, model, 0)[1])
    tokenizer = tokenizer_of(job)
    data = open_data(job, job.data.train)
    waveform = batch.waveform.float() / 32768
    heard = [tokenizer.decode(path) for path in best_paths(model(waveform, batch.lengths))]
    said = [data.transcript(int(index)).upper() for index in batch.utterances]
    assert any(heard)
    assert figures["wer"] == pytest.approx(jiwer.wer(said, heard))
    assert figures["cer"] == pytest.approx(jiwer.cer(said, heard))


class Transcripts:
    """A dataset of transcripts and lengths."""

    def __init__(self, *entries: tuple[str | None, int]) -> None:
        self._entries = entries
        self.num_samples = np.asarray([samples for _, samples in entries], dtype=np.int32)

    def __len__(self):
        return len(self._entries)

    def transcript(self, index):
        return self._entries[index][0]


def test_what_cannot_be_learned_from_is_counted_by_reason(finetune_job):
    data = Transcripts(
        ("ab", 8_000), (None, 8_000), ("  ", 8_000), ("a5", 8_000), ("ab", 30_000), ("abcabcabc" * 5, 8_000), ("c", 100)
    )
    tokenizer = Tokenizer((*SPECIALS, "|", *"ABC"), TextSpec())
    selection = select_utterances(finetune_job(), data, tokenizer)
    census = selection.census
    assert (census.total, census.usable, census.no_transcript) == (7, 1, 2)
    assert (census.unknown_characters, census.too_long, census.too_few_frames) == (1, 1, 2)
    assert str(census) == (
        "1 of 7 utterances are used; left out: no transcript 2, unknown characters 1, too long 1, too few frames 2"
    )
    assert selection.target(0).tolist() == [5, 6, 4]
    assert [len(selection.target(index)) for index in range(1, 7)] == [0] * 6


def test_repeated_letters_need_a_frame_between_them(finetune_job):
    frames = 9
    samples = frames * 320 + 80
    tokenizer = Tokenizer((*SPECIALS, "|", *"ABC"), TextSpec())
    data = Transcripts(("abcabcab", samples), ("aabcabcb", samples))
    assert select_utterances(finetune_job(), data, tokenizer).usable.tolist() == [True, False]


def test_a_dataset_without_usable_transcripts_is_refused(finetune_job):
    tokenizer = Tokenizer((*SPECIALS, "|", *"ABC"), TextSpec())
    with pytest.raises(DatasetError, match=r"none of the 2 utterances can be used .*no transcript 1, unknown char"):
        select_utterances(finetune_job(), Transcripts((None, 8_000), ("xyz", 8_000)), tokenizer)


def test_the_plan_leaves_out_what_is_not_usable(finetune_job):
    job = finetune_job()
    data = Transcripts(*(("ab", 8_000 + 10 * n) if n % 2 else (None, 9_000) for n in range(20)))
    selection = select_utterances(job, data, Tokenizer((*SPECIALS, "|", *"ABC"), TextSpec()))
    plan = build_plan(job, data, selection, RandomStreams(1))
    assert plan.utterances_per_epoch == 10
    used = {int(u) for index in range(plan.sub_batches_per_epoch) for u in plan.micro_batch(index).utterances[0]}
    assert used == set(range(1, 20, 2))


def test_padding_has_no_part_in_the_normalisation():
    waveform = torch.randn(2, 500)
    lengths = torch.tensor([500, 300])
    scaled = normalise_valid(waveform, lengths, 1e-5)
    alone = torch.nn.functional.layer_norm(waveform[1, :300], (300,), eps=1e-5)
    assert torch.allclose(scaled[1, :300], alone, atol=1e-6)
    assert not scaled[1, 300:].any()


def test_the_task_is_one_to_the_trainer(finetune_job, tmp_path):
    _, model, task = ready(finetune_job(), tmp_path)
    assert isinstance(task, FinetuneTask)
    figures = task.figures(sums_of(task, model, 0)[1])
    assert figures.keys() == {"loss", "loss_per_utterance"}
    assert {"frames", "samples"} <= set(task.sums)


AUGMENTED = {
    "augmentation": {"speed": {"factors": [0.8, 1.25]}, "noise": {"probability": 1.0}, "overlap": {"probability": 1.0}},
    "batch.concat": 5,
}


def test_augmented_audio_depends_on_its_place_in_the_stream_alone(finetune_job, tmp_path):
    _, _, task = ready(finetune_job({**AUGMENTED, "name": "a"}), tmp_path)
    _, _, again = ready(finetune_job({**AUGMENTED, "name": "b"}), tmp_path)
    again.micro_batch(0)
    one, two = task.micro_batch(2), again.micro_batch(2)
    assert torch.equal(one.waveform, two.waveform)
    assert torch.equal(one.lengths, two.lengths)
    assert torch.equal(one.time_mask, two.time_mask)


def test_augmentation_changes_what_is_heard_and_not_what_is_read(finetune_job, tmp_path):
    _, _, task = ready(finetune_job({**AUGMENTED, "name": "a"}), tmp_path)
    _, _, plain = ready(finetune_job({"batch.concat": 5, "name": "b"}), tmp_path)
    one, two = task.micro_batch(1), plain.micro_batch(1)
    assert one.utterances.tolist() == two.utterances.tolist()
    assert torch.equal(one.targets, two.targets)
    ratios = set((one.lengths / two.lengths).mul(100).round().int().tolist())
    assert ratios <= {80, 125}
    assert one.waveform.shape[1] == one.lengths.max()
    for row, length in zip(one.waveform, one.lengths, strict=True):
        assert not row[length:].any()


def test_held_out_audio_is_heard_as_it_is(finetune_job, tmp_path):
    job = finetune_job({**AUGMENTED, "name": "a"})
    job = job.model_copy(update={"data": job.data.model_copy(update={"validation": job.data.train})})
    run = RunFolder(tmp_path / "held")
    run.create()
    job = resolve(job, run)
    batch = FinetuneObjective().set_up(job, run, CPU).validation.micro_batch(0)
    data = open_data(job, job.data.validation)
    for row, length, index in zip(batch.waveform, batch.lengths, batch.utterances, strict=True):
        assert int(length) == data.num_samples[index]
        crop = data.crops(*(np.asarray([value]) for value in (int(index), 0, int(length))))[0]
        assert np.array_equal(row[:length].numpy(), crop)


def test_a_transcript_must_fit_its_audio_at_the_fastest_speed(finetune_job):
    tokenizer = Tokenizer((*SPECIALS, "|", *"ABC"), TextSpec())
    data = Transcripts(("abcabcabca", 4_000), ("abc", 8_000))
    job = finetune_job()
    frames = job.model.feature_encoder.num_frames
    assert frames(4_000) >= 10 > frames(3_200)
    assert select_utterances(job, data, tokenizer).usable.tolist() == [True, True]
    assert select_utterances(job, data, tokenizer, fastest=1.25).usable.tolist() == [False, True]


def test_two_views_cost_the_mean_of_their_losses_and_what_they_differ_by(finetune_job, tmp_path):
    quiet = {"regularisation.dropout": 0.0, "regularisation.activation_dropout": 0.0, "regularisation.layer_drop": 0.0}
    weight = 0.7
    _, model, task = ready(finetune_job({**quiet, "regularisation.consistency": weight, "name": "two"}), tmp_path)
    _, _, single = ready(finetune_job({**quiet, "name": "one"}), tmp_path)
    model.train()
    batch = task.micro_batch(0)
    rows = len(batch.lengths)
    assert batch.time_mask.shape[0] == batch.channel_mask.shape[0] == 2 * rows
    assert torch.equal(batch.time_mask[:rows], single.micro_batch(0).time_mask)
    assert not torch.equal(batch.time_mask[:rows], batch.time_mask[rows:])

    losses, log_probs = [], []
    for part in (slice(rows), slice(rows, None)):
        view = replace(batch, time_mask=batch.time_mask[part], channel_mask=batch.channel_mask[part])
        losses.append(float(single.forward(model, view, 1)[0].detach()))
        heard = model(
            batch.waveform.float() / 32768,
            batch.lengths,
            time_mask=batch.time_mask[part],
            channel_mask=batch.channel_mask[part],
        )
        log_probs.append(heard.log_probs.detach().double().numpy())
        frames = heard.frame_lengths.tolist()
    divergence = 0.0
    for row, count in enumerate(frames):
        one, two = (part[row, :count] for part in log_probs)
        divergence += 0.5 * float((np.exp(one) * (one - two)).sum() + (np.exp(two) * (two - one)).sum())
    objective, sums = task.forward(model, batch, 1)
    assert divergence > 0
    assert float(sums[SUMS.index("loss_sum")]) == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert float(objective.detach()) == pytest.approx(sum(losses) / 2 + weight * divergence, rel=1e-4)
    assert sums[SUMS.index("utterances")] == rows


def test_each_view_is_drawn_to_the_other_which_is_held_still():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    output = CtcOutput(torch.log_softmax(logits, -1), torch.tensor([3, 3]), None)
    consistency_loss(output).backward()
    probs = torch.softmax(logits.detach(), -1)
    # d KL(target || softmax(z)) / dz = softmax(z) - target, with the target constant
    assert torch.allclose(logits.grad[0], 0.5 * (probs[0] - probs[1]), atol=1e-6)
    assert torch.allclose(logits.grad[1], 0.5 * (probs[1] - probs[0]), atol=1e-6)


def test_in_evaluation_there_is_one_view(finetune_job, tmp_path):
    _, model, task = ready(finetune_job({"regularisation.consistency": 0.2, "name": "two"}), tmp_path)
    _, _, single = ready(finetune_job({"name": "one"}), tmp_path)
    model.eval()
    assert torch.equal(
        task.forward(model, task.micro_batch(0), 1)[0], single.forward(model, single.micro_batch(0), 1)[0]
    )


def test_runs_begun_before_there_was_augmentation_have_the_same_identity(finetune_job):
    plain = finetune_job().identity()
    assert "augmentation" not in plain
    assert "consistency" not in plain["regularisation"]
    assert finetune_job(AUGMENTED).identity()["augmentation"] != plain.get("augmentation")
    assert finetune_job({"regularisation.consistency": 0.2}).identity() != plain
