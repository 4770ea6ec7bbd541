"""Where a fine-tuning run begins: settled once, refused when it contradicts itself."""

from __future__ import annotations

import json

import pytest
import torch

from w2v2_ray.errors import CheckpointError, SpecError
from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
from w2v2_ray.model.interop.model_folder import load_model, save_model
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.model import ModelSpec
from w2v2_ray.spec.symbols import SPECIALS
from w2v2_ray.training.objectives.finetuning.start import initial_model, resolve

ABC = (*SPECIALS, "|", "A", "B", "C")


@pytest.fixture
def pretrained(finetune_job, tmp_path):
    """A pre-training model in a folder."""
    spec: ModelSpec = finetune_job().model
    torch.manual_seed(5)
    folder = tmp_path / "pretrained"
    save_model(folder, spec, "pretrain", dict(build_pretrain_model(spec).state_dict()))
    return folder


def run_folder(tmp_path, name="run"):
    run = RunFolder(tmp_path / name)
    run.create()
    return run


def test_the_backbone_is_the_checkpoints_and_the_head_is_new(finetune_job, pretrained):
    job = finetune_job(pretrained=str(pretrained), model=None)
    model = initial_model(job)
    source = load_model(pretrained)
    assert model.vocabulary is not None
    assert set(model.vocabulary) == set(ABC)
    for name, tensor in source.state.items():
        if name.startswith("backbone."):
            assert torch.equal(model.state[name], tensor)
    assert not any(name.startswith(("quantizer", "project")) for name in model.state)
    assert model.state["head.weight"].shape[0] == len(ABC)


def test_dropout_masking_and_gradient_scale_are_the_jobs(finetune_job, pretrained):
    job = finetune_job(
        {"regularisation.activation_dropout": 0.25, "masking.probability": 0.33}, pretrained=str(pretrained), model=None
    )
    spec = initial_model(job).spec
    assert spec.encoder.activation_dropout == 0.25
    assert spec.encoder.layer_drop == 0.3
    assert spec.masking.probability == 0.33
    assert spec.feature_encoder.gradient_scale == 0.0


def test_a_model_that_contradicts_the_checkpoint_is_refused(finetune_job, pretrained):
    job = finetune_job({"model.encoder.ffn_dim": 64}, pretrained=str(pretrained))
    with pytest.raises(SpecError, match=r"contradicts pretrained: .*model.encoder.ffn_dim: 64 against 48"):
        initial_model(job)


def test_a_model_that_agrees_is_accepted_whatever_its_dropout_and_targets(finetune_job, pretrained):
    targets = {"model.final_dim": 32, "model.target_glu": True, "model.quantizer.depth": 2}
    changes = {"model.encoder.dropout": 0.4, **targets}
    job = finetune_job(changes, pretrained=str(pretrained))
    assert initial_model(job).spec.encoder.dropout == 0.1


def test_a_recognisers_head_is_kept_with_its_symbols(finetune_job, tmp_path):
    spec = finetune_job().model
    torch.manual_seed(6)
    save_model(tmp_path / "ctc", spec, "ctc", dict(build_ctc_model(spec, len(ABC)).state_dict()), ABC)
    head = load_model(tmp_path / "ctc").state["head.weight"]
    kept = initial_model(finetune_job(pretrained=str(tmp_path / "ctc"), model=None))
    assert kept.vocabulary == ABC
    assert torch.equal(kept.state["head.weight"], head)
    other = initial_model(
        finetune_job({"vocabulary.symbols": ["C", "B", "A"]}, pretrained=str(tmp_path / "ctc"), model=None)
    )
    assert other.vocabulary == (*SPECIALS, "|", "C", "B", "A")
    assert not torch.equal(other.state["head.weight"], head)


def test_a_tokenizer_file_gives_the_symbols(finetune_job, tmp_path):
    path = tmp_path / "dict.ltr.txt"
    path.write_text("| 9\nB 5\nA 3\nC 1\n")
    assert initial_model(finetune_job({"vocabulary.path": str(path)})).vocabulary == (*SPECIALS, "|", "B", "A", "C")


def test_allowed_characters_that_given_symbols_cannot_write_are_refused(finetune_job):
    changes = {"vocabulary.symbols": ["A", "B", "C"], "text.allowed": "ABCÉ D"}
    with pytest.raises(SpecError, match=r"text\.allowed: 'DÉ' cannot be written with the symbols of vocabulary"):
        initial_model(finetune_job(changes))
    assert initial_model(finetune_job({**changes, "text.allowed": "AB C"})).vocabulary[-3:] == ("A", "B", "C")
    # Where the transcripts give the symbols, an allowed letter may simply not occur.
    assert "D" not in initial_model(finetune_job({"text.allowed": "ABCD"})).vocabulary


def test_a_run_keeps_what_it_began_from(finetune_job, pretrained, tmp_path):
    run = run_folder(tmp_path)
    job = finetune_job(pretrained=str(pretrained), model=None)
    first = resolve(job, run)
    kept = load_model(run.initial).state
    spec = load_model(pretrained).spec
    torch.manual_seed(99)
    save_model(pretrained, spec, "pretrain", dict(build_pretrain_model(spec).state_dict()))
    assert resolve(job, run) == first
    again = load_model(run.initial).state
    assert all(torch.equal(again[name], tensor) for name, tensor in kept.items())
    assert json.loads(run.vocabulary.read_text()) == list(load_model(run.initial).vocabulary)
    assert first.pretrained == str(run.initial)


def test_the_resolved_job_resolves_to_itself(finetune_job, tmp_path):
    run = run_folder(tmp_path)
    resolved = resolve(finetune_job(), run)
    assert resolve(resolved, run) == resolved


def test_a_run_does_not_begin_from_something_else_the_second_time(finetune_job, pretrained, tmp_path):
    run = run_folder(tmp_path)
    resolve(finetune_job(), run)
    with pytest.raises(CheckpointError, match="this run began with another pretrained"):
        resolve(finetune_job(pretrained=str(pretrained)), run)


def test_what_begins_the_same_has_the_same_weights(finetune_job):
    one, two, other = (initial_model(finetune_job(seed=seed)).state for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_a_run_begun_before_there_were_two_views_goes_on(finetune_job, tmp_path):
    run = run_folder(tmp_path)
    job = finetune_job()
    resolved = resolve(job, run)
    begun = json.loads(run.start.read_text())
    assert "consistency" not in begun["regularisation"]  # as releases without the field wrote it
    assert resolve(job, run) == resolved
    with pytest.raises(CheckpointError, match="this run began with another regularisation"):
        resolve(finetune_job({"regularisation.consistency": 0.2}), run)


def test_a_run_begun_before_the_normalisation_had_an_epsilon_goes_on(finetune_job, tmp_path):
    run = run_folder(tmp_path)
    job = finetune_job()
    resolved = resolve(job, run)
    begun = json.loads(run.start.read_text())
    assert "normalize_eps" not in begun["model"]  # as releases without the field wrote it
    assert resolve(job, run) == resolved
    other = job.model.model_copy(update={"normalize_eps": 1e-7})
    with pytest.raises(CheckpointError, match="this run began with another model"):
        resolve(job.model_copy(update={"model": other}), run)
