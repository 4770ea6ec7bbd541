"""Fine-tuning through the trainer: the virtual world holds, the best checkpoint is the one with the lowest WER."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_worlds import Worlds
from trainer_cases import events_of, folder_of, ledger_of, metrics_of, saved_updates, train

from w2v2_ray.errors import CheckpointError, SpecError
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model
from w2v2_ray.recognition.decoding import GREEDY
from w2v2_ray.recognition.recogniser import load_recogniser
from w2v2_ray.run.checkpoints.files import best_checkpoint, list_checkpoints, read_manifest
from w2v2_ray.spec.loading import dump_job
from w2v2_ray.training.model_source import load_any
from w2v2_ray.training.objectives.finetuning.start import resolve


def run(worlds: Worlds, size: int, job, stop_at: int | None = None):
    """Train on `size` workers; the job as it was settled."""
    folder = folder_of(job)
    folder.create()
    job = resolve(job, folder)
    folder.spec.write_text(dump_job(job))
    worlds[size].run(train, job.model_dump(mode="json"), None, stop_at)
    return job


AUGMENTED = {
    "augmentation.speed.factors": [0.9, 1.0, 1.1],
    "augmentation.noise.probability": 0.5,
    "augmentation.reverberation.probability": 0.5,
    "augmentation.waveform_mask.probability": 0.5,
    "regularisation.consistency": 0.2,
    "regularisation.dropout": 0.1,
}


@pytest.mark.parametrize(("size", "changes"), [(2, {}), (3, {}), (3, AUGMENTED)], ids=["2", "3", "3-augmented"])
def test_loss_weights_and_utterances_do_not_depend_on_the_workers(worlds: Worlds, finetune_job, size, changes):
    alone = run(worlds, 1, finetune_job({**changes, "name": "alone"}))
    shared = run(worlds, size, finetune_job({**changes, "name": "shared"}))
    for ours, theirs in zip(metrics_of(shared), metrics_of(alone), strict=True):
        assert ours["world_size"] == size
        assert (ours["loss"], ours["grad_norm"]) == (theirs["loss"], theirs["grad_norm"])
    ours, theirs = (ledger_of(job) for job in (shared, alone))
    assert {key: sorted(ids) for key, ids in ours.items()} == {key: sorted(ids) for key, ids in theirs.items()}
    first, second = (load_any(folder_of(job).path).state for job in (shared, alone))
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


def test_a_run_resumed_on_other_workers_goes_on_as_if_nothing_had_been(worlds: Worlds, finetune_job):
    whole = run(worlds, 1, finetune_job(name="whole"))
    parts = run(worlds, 2, finetune_job(name="parts"), stop_at=3)
    run(worlds, 3, parts)
    for ours, theirs in zip(metrics_of(parts), metrics_of(whole), strict=True):
        assert ours["update"] == theirs["update"]
        assert ours["loss"] == theirs["loss"]


def test_frozen_updates_move_the_head_alone(worlds: Worlds, finetune_job):
    changes = {"freeze_updates": 6, "optim.weight_decay": 0.0}
    job = run(worlds, 2, finetune_job(changes))
    before, after = load_any(folder_of(job).initial).state, load_any(folder_of(job).path).state
    moved = {name for name in before if float((before[name] - after[name]).abs().max()) > 0}
    assert moved == {"head.weight", "head.bias"}
    assert [record["backbone_frozen"] for record in metrics_of(job)] == [1.0] * 6


def test_held_out_words_are_judged_and_the_best_checkpoint_has_the_lowest_wer(worlds: Worlds, finetune_job):
    job = run(worlds, 2, finetune_job({"checkpoint.keep_best": True, "validation.every_updates": 2, "updates": 6}))
    measured = {event["update"]: event for event in events_of(job, "validation")}
    assert list(measured) == [2, 4, 6]
    assert all({"loss", "wer", "cer", "validation_s"} <= event.keys() for event in measured.values())
    assert not any("wer" in record for record in metrics_of(job))
    best = best_checkpoint(folder_of(job).checkpoints)
    lowest = min(event["wer"] for event in measured.values())
    assert read_manifest(best).validation["wer"] == lowest


def test_a_run_that_gets_no_better_ends_early_and_stays_ended(worlds: Worlds, finetune_job):
    changes = {"optim.lr": 1e-12, "validation.every_updates": 1, "updates": 50, "early_stopping": {"patience": 2}}
    job = run(worlds, 2, finetune_job(changes))
    (end,) = events_of(job, "end")
    assert (end["update"], end["stopped_early"]) == (3, True)
    assert saved_updates(job)[-1] == 3
    run(worlds, 1, job)
    assert [record["update"] for record in metrics_of(job)] == [1, 2, 3]


def test_a_checkpoint_of_the_run_knows_its_symbols(worlds: Worlds, finetune_job):
    job = run(worlds, 1, finetune_job())
    model = load_any(folder_of(job).path)
    assert model.kind == "ctc"
    assert set(model.vocabulary[5:]) == {"A", "B", "C"}


def test_averaged_checkpoints_are_the_mean_of_their_weights(worlds: Worlds, finetune_job):
    job = run(worlds, 1, finetune_job({"checkpoint.every_updates": 2, "checkpoint.keep_last": 3, "updates": 6}))
    folder = folder_of(job)
    each = [load_any(path).state for path in list_checkpoints(folder.checkpoints)]
    newest_two, all_three = (load_any(folder.path, average=count) for count in (2, 3))
    assert any("after updates 4, 6" in note for note in newest_two.notes)
    for name, weight in all_three.state.items():
        one, two, three = (state[name].double() for state in each)
        assert torch.allclose(weight.double(), (one + two + three) / 3, atol=1e-7)
        assert torch.allclose(newest_two.state[name].double(), (two + three) / 2, atol=1e-7)
    with pytest.raises(CheckpointError, match=r"--average 4, but 3 whole checkpoints are kept.*keep_last"):
        load_any(folder.path, average=4)
    with pytest.raises(SpecError, match="give the run's folder, without --best"):
        load_any(folder.path, average=2, best=True)


def test_a_damaged_checkpoint_is_not_averaged(worlds: Worlds, finetune_job):
    job = run(worlds, 1, finetune_job({"checkpoint.every_updates": 2, "checkpoint.keep_last": 3, "updates": 6}))
    folder = folder_of(job)
    damaged = list_checkpoints(folder.checkpoints)[1]
    state = damaged / "state-00000.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    model = load_any(folder.path, average=2)
    assert any("after updates 2, 6" in note for note in model.notes)
    assert any(state.name in note for note in model.notes)


def test_tokens_are_learned_judged_and_carried_in_and_out(worlds: Worlds, finetune_job, tmp_path):
    """As phones are: `aa ab` is two symbols, and what is written parts them again."""
    job = run(worlds, 2, finetune_job({"text.units": "tokens", "model.encoder.hourglass": None}))
    assert {event["wer"] >= 0 for event in events_of(job, "validation")} == {True}
    recogniser = load_recogniser(folder_of(job).path)
    tokens = recogniser.vocabulary[4:]
    assert {len(token) for token in tokens} == {2}
    assert recogniser.tokenizer.normalise(f"{tokens[0]}  {tokens[1].lower()}") == f"{tokens[0]} {tokens[1]}"
    log_probs = np.full((6, len(recogniser.vocabulary)), -9.0, np.float32)
    log_probs[np.arange(6), [4, 4, 0, 4, 5, 0]] = 0.0
    heard = GREEDY.decoder(recogniser.vocabulary).decode(log_probs)
    assert heard.text == f"{tokens[0]} {tokens[0]} {tokens[1]}"
    assert [(word.start_frame, word.end_frame) for word in heard.words] == [(0, 2), (3, 4), (4, 5)]
    model = load_any(folder_of(job).path)
    for target in (TargetFormat.OWN, TargetFormat.HUGGINGFACE, TargetFormat.FAIRSEQ, TargetFormat.NVIDIA):
        is_folder = target in (TargetFormat.OWN, TargetFormat.HUGGINGFACE)
        out = tmp_path / target.value / ("model" if is_folder else "model.pt")
        out.parent.mkdir()
        export_model(model, target, out)
        again = load_recogniser(out)
        assert again.vocabulary == recogniser.vocabulary, target
        assert again.tokenizer.text.units == "tokens"
