"""Pre-training that goes on from a model that exists: its weights, its quantizer, another Hourglass."""

from __future__ import annotations

import json

import pytest
import torch
from engine_worlds import Worlds
from trainer_cases import folder_of, metrics_of, train

from w2v2_ray.errors import CheckpointError, SpecError
from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
from w2v2_ray.model.interop.model_folder import load_model, save_model
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.loading import dump_job
from w2v2_ray.spec.model import HourglassSpec
from w2v2_ray.training.objectives.pretraining.start import initial_model
from w2v2_ray.training.objectives.registry import objective_of


def with_model(job, **encoder):
    changed = job.model.encoder.model_copy(update=encoder)
    return job.model_copy(update={"model": job.model.model_copy(update={"encoder": changed})})


@pytest.fixture
def source(tiny_job, tmp_path):
    """A pre-training model in a folder, unlike what the job's seed gives."""
    job = tiny_job()
    torch.manual_seed(5)
    folder = tmp_path / "source"
    state = {name: tensor + 0.01 for name, tensor in build_pretrain_model(job.model, job.loss).state_dict().items()}
    save_model(folder, job.model, "pretrain", state)
    return folder


def begun(job, tmp_path, name="begun"):
    run = RunFolder(tmp_path / name)
    run.create()
    return objective_of(job).begin(job, run), run


def test_every_weight_is_the_models(tiny_job, source, tmp_path):
    job, run = begun(tiny_job(pretrained=str(source)), tmp_path)
    expected = load_model(source).state
    model = objective_of(job).set_up(job, run, torch.device("cpu")).model
    assert dict.fromkeys(expected, True) == {
        name: torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items()
    }


def test_a_recogniser_gives_its_backbone_and_the_rest_begins_at_random(tiny_job, tmp_path):
    job = tiny_job()
    torch.manual_seed(6)
    vocabulary = ("<s>", "<pad>", "</s>", "<unk>", "|", "A")
    save_model(tmp_path / "ctc", job.model, "ctc", dict(build_ctc_model(job.model, 6).state_dict()), vocabulary)
    state = initial_model(tiny_job(pretrained=str(tmp_path / "ctc"))).state
    backbone = load_model(tmp_path / "ctc").state
    fresh = initial_model_without(job)
    for name, tensor in state.items():
        assert torch.equal(tensor, backbone[name] if name.startswith("backbone.") else fresh[name]), name
    assert not any(name.startswith("head") for name in state)


def initial_model_without(job):
    from w2v2_ray.training.objectives.pretraining.task import build_model

    return build_model(job).state_dict()


@pytest.mark.parametrize(
    "hourglass",
    [
        None,
        HourglassSpec(pre_layers=1, middle_layers=1, post_layers=1, shorten_factor=4),
    ],
    ids=["none", "4"],
)
def test_the_hourglass_may_change_and_change_back(tiny_job, source, tmp_path, hourglass):
    first = tiny_job(pretrained=str(source))
    changed = initial_model(with_model(first, hourglass=hourglass))
    save_model(tmp_path / "changed", changed.spec, "pretrain", changed.state)
    back = initial_model(tiny_job(pretrained=str(tmp_path / "changed"))).state
    for name, tensor in load_model(source).state.items():
        assert torch.equal(back[name], tensor), name


def test_layers_keep_their_order_when_the_hourglass_goes(tiny_job, source):
    there = load_model(source).state
    plain = initial_model(with_model(tiny_job(pretrained=str(source)), hourglass=None)).state
    stack = "backbone.encoder.stack."
    for number, part in enumerate(("pre", "middle", "post")):
        assert torch.equal(
            plain[f"{stack}layers.{number}.ffn_in.weight"], there[f"{stack}{part}.layers.0.ffn_in.weight"]
        )


def test_a_network_that_does_not_fit_is_refused_with_the_weights_that_differ(tiny_job, source):
    with pytest.raises(SpecError, match=r"does not fit `model` \(.*ffn_in.* against .*describe its network"):
        initial_model(with_model(tiny_job(pretrained=str(source)), ffn_dim=96))


def test_another_quantizer_begins_at_random(tiny_job, source):
    job = tiny_job(pretrained=str(source))
    quantizer = job.model.quantizer.model_copy(update={"entries": 16})
    job = job.model_copy(update={"model": job.model.model_copy(update={"quantizer": quantizer})})
    state = initial_model(job).state
    fresh = initial_model_without(job)
    assert torch.equal(state["quantizer.codebook"], fresh["quantizer.codebook"])
    assert torch.equal(state["backbone.input_proj.weight"], load_model(source).state["backbone.input_proj.weight"])


def test_what_a_run_began_from_is_its_own(tiny_job, source, tmp_path):
    job = tiny_job(pretrained=str(source))
    settled, run = begun(job, tmp_path)
    assert settled.pretrained == str(run.initial)
    assert json.loads(run.start.read_text())["pretrained"] == str(source)
    (source / "model.safetensors").unlink()
    assert begun(job, tmp_path)[0] == settled
    with pytest.raises(CheckpointError, match="this run began with another seed"):
        begun(job.model_copy(update={"seed": 9}), tmp_path)


def test_a_run_from_random_weights_keeps_nothing(tiny_job, tmp_path):
    job, run = begun(tiny_job(), tmp_path)
    assert job.pretrained is None
    assert not run.start.exists()
    assert not run.initial.exists()
    assert not objective_of(job).keeps_start(job)


def test_the_loss_goes_on_from_where_it_was(worlds: Worlds, tiny_job, tmp_path):
    first = tiny_job(name="first", updates=40)
    worlds[1].run(train, first.model_dump(mode="json"), None, None)
    folder_of(first).spec.write_text(dump_job(first))
    second, _ = begun_in_place(tiny_job(name="second", updates=6, pretrained=str(folder_of(first).path)))
    worlds[2].run(train, second.model_dump(mode="json"), None, None)
    losses = [record["loss"] for record in metrics_of(first)]
    going_on = [record["loss"] for record in metrics_of(second)]
    start, end = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    assert end < start - 0.2
    assert sum(going_on[:3]) / 3 < (start + end) / 2


def begun_in_place(job):
    run = folder_of(job)
    run.create()
    return objective_of(job).begin(job, run), run
