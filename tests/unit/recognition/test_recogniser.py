from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from w2v2_ray.data.text import Tokenizer
from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.model.interop.model_folder import save_model
from w2v2_ray.recognition.recogniser import Recogniser, load_recogniser
from w2v2_ray.spec.model import ModelSpec
from w2v2_ray.spec.text import TextSpec

VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "|", *"ABCDE")
CPU = torch.device("cpu")


@pytest.fixture(params=["plain", "hourglass", "normalised"])
def spec(request, make_tiny_job, tmp_path):
    model = make_tiny_job(tmp_path).model.model_dump(mode="json")
    if request.param == "plain":
        model["encoder"]["hourglass"] = None
    if request.param == "normalised":
        model["feature_encoder"] |= {"norm": "layer_norm", "bias": True}
        model["encoder"] |= {"norm_first": True, "hourglass": None}
        model["normalize_waveform"] = True
    return ModelSpec.model_validate(model)


def random_model(spec, vocabulary=VOCABULARY):
    torch.manual_seed(3)
    state = build_ctc_model(spec, len(VOCABULARY)).state_dict()
    return LoadedModel(spec, "ctc", deepcopy(state), vocabulary, source="m")


def noises(*lengths):
    rng = np.random.default_rng(0)
    return [rng.normal(0, 3000, n).astype(np.int16) for n in lengths]


def test_the_company_in_a_batch_changes_no_log_prob(spec):
    recogniser = Recogniser(random_model(spec), TextSpec(), CPU)
    waveforms = noises(16_000, 5_000, 9_333, 400, 12_345)
    together = recogniser.log_probs(waveforms)
    for waveform, log_probs in zip(waveforms, together, strict=True):
        (alone,) = recogniser.log_probs([waveform])
        assert log_probs.shape == (recogniser.num_frames(len(waveform)), len(VOCABULARY))
        np.testing.assert_allclose(log_probs, alone, atol=2e-5)


def test_log_probs_are_the_models_with_its_weight_norm_folded(spec):
    model = random_model(spec)
    recogniser = Recogniser(model, TextSpec(), CPU)
    (waveform,) = noises(8_000)
    x = torch.from_numpy(waveform.astype(np.float32) / 32768)
    if spec.normalize_waveform:
        x = torch.nn.functional.layer_norm(x, x.shape, eps=1e-5)
    with torch.no_grad():
        wanted = model.build()(x[None]).log_probs[0]
    np.testing.assert_allclose(recogniser.log_probs([waveform])[0], wanted.numpy(), atol=2e-5)


def test_what_is_too_short_for_a_frame_gives_none(tiny_job):
    recogniser = Recogniser(random_model(tiny_job().model), TextSpec(), CPU)
    short, long = recogniser.log_probs(noises(399, 400))
    assert short.shape == (0, len(VOCABULARY))
    assert long.shape == (1, len(VOCABULARY))
    assert recogniser.log_probs([]) == []
    assert recogniser.log_probs(noises(0))[0].shape == (0, len(VOCABULARY))
    assert recogniser.frame_s == 0.02


def test_a_pretraining_model_is_refused_with_what_to_do(tiny_job):
    spec = tiny_job().model
    model = LoadedModel(spec, "pretrain", build_pretrain_model(spec).state_dict(), source="runs/p")
    with pytest.raises(CheckpointError, match=r"runs/p: a pretrain model has no outputs .* fine-tune it first"):
        Recogniser(model, TextSpec(), CPU)


def test_a_recogniser_without_its_vocabulary_is_refused_with_the_option(tiny_job):
    with pytest.raises(CheckpointError, match="give it with --vocabulary"):
        Recogniser(random_model(tiny_job().model, None), TextSpec(), CPU)


@pytest.mark.parametrize(("letters", "written"), [("ABC", "AC"), ("abc", "ac"), ("aBC", "aC")])
def test_a_model_from_elsewhere_is_judged_in_the_case_of_its_letters(letters, written, tiny_job, tmp_path):
    vocabulary = (*VOCABULARY[:5], *letters)
    state = build_ctc_model(tiny_job().model, len(vocabulary)).state_dict()
    save_model(tmp_path / "m", tiny_job().model, "ctc", state, vocabulary)
    tokenizer = load_recogniser(tmp_path / "m", device="cpu").tokenizer
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.normalise("aC?" if letters == "aBC" else "ac?") == written
