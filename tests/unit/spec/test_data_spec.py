"""How often each dataset is heard: one way at a time, and what came later changes no earlier run."""

from __future__ import annotations

import json

import pytest

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.loading import dump_yaml, load_job_text


def job(data: dict, **more):
    text = dump_yaml({"kind": "pretrain", "preset": "base", "name": "x", "data": data, **more})
    return load_job_text(text, "job.yaml").job


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"train": [{"path": "a", "share": 1}, "b"]}, "b has no share"),
        ({"train": [{"path": "a", "share": 1}], "sampling_alpha": 0.5}, "leave one of them out"),
        ({"train": [{"path": "a", "share": 1, "repeat": 2}]}, "leave out repeat"),
        ({"train": [{"path": "a", "repeat": 2}, "b"], "sampling_alpha": 0.5}, "leave out repeat"),
        ({"train": "a", "validation": [{"path": "b", "share": 1}]}, "share has no meaning"),
        ({"train": [{"path": "a", "share": 0}]}, "share"),
        ({"train": "a", "sampling_alpha": 1.5}, "sampling_alpha"),
    ],
)
def test_two_ways_at_once_are_refused(data, words):
    with pytest.raises(SpecError, match=words):
        job(data)


def test_what_came_later_leaves_the_identity_of_earlier_runs():
    plain = job({"train": "a"})
    assert not {"curriculum_epochs", "max_utterances"} & set(json.loads(plain.identity()["batch"]))
    later = job({"train": "a"}, batch={"curriculum_epochs": 1})
    assert json.loads(later.identity()["batch"])["curriculum_epochs"] == 1


def test_options_of_the_model_that_came_later_leave_the_identity_of_earlier_runs():
    plain = job({"train": "a"})
    model, loss = (json.loads(plain.identity()[part]) for part in ("model", "loss"))
    assert not {"activation"} & set(model["encoder"])
    assert not {"initial_gain"} & set(model["encoder"]["hourglass"])
    assert not {"depth", "factor"} & set(model["quantizer"])
    assert set(model["masking"]) == {"probability", "length_frames", "channel_probability", "channel_length"}
    assert not {"target_glu", "normalize_eps"} & set(model)
    assert not {"cross_sample_negatives", "codebook_negatives"} & set(loss)
    other = job({"train": "a"}, model={"quantizer": {"depth": 2}, "masking": {"selection": "poisson"}})
    model = json.loads(other.identity()["model"])
    assert (model["quantizer"]["depth"], model["masking"]["selection"]) == (2, "poisson")
