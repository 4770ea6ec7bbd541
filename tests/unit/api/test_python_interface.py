"""What `import w2v2_ray` offers: lazily, typed, with errors as exceptions, the same that the commands do."""

from __future__ import annotations

import doctest
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile
import torch

import w2v2_ray as w2v2
from w2v2_ray.api import jobs
from w2v2_ray.api.audio import samples_of
from w2v2_ray.errors import AudioError, CheckpointError, DatasetError, SpecError, UserError


def test_importing_it_imports_neither_torch_nor_ray_nor_numpy():
    code = "import sys, w2v2_ray; dir(w2v2_ray); w2v2_ray.load_job('demo_pretrain'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "w2v2_ray.spec.job" in loaded
    assert not {"torch", "ray", "numpy", "pyarrow", "deepspeed"} & loaded


def test_every_name_is_there_and_others_are_an_attribute_error():
    for name in w2v2.__all__:
        assert getattr(w2v2, name) is not None
        assert name in dir(w2v2)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = w2v2.trian


def test_the_examples_in_the_docstrings_are_true():
    results = doctest.testmod(jobs, optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    assert results.attempted >= 4
    assert results.failed == 0


def test_a_job_is_a_file_a_name_nested_dicts_or_one_loaded_before(tiny_dataset, tmp_path):
    document = {"kind": "pretrain", "preset": "tiny", "name": "x", "data": {"train": str(tiny_dataset)}}
    loaded = w2v2.load_job(document, {"updates": 700, "optim.lr": 1e-4})
    assert (loaded.job.updates, loaded.job.optim.lr) == (700, 1e-4)
    assert w2v2.load_job(loaded) is loaded
    assert w2v2.load_job(loaded.job, ["updates=900"]).job.updates == 900
    file = tmp_path / "job.yaml"
    file.write_text(f"kind: pretrain\npreset: tiny\nname: x\ndata: {{train: {tiny_dataset}}}\n")
    assert w2v2.load_job(file).job == w2v2.load_job(document).job


def test_mistakes_are_one_exception_with_all_of_them(tiny_dataset):
    document = {"kind": "pretrain", "preset": "tiny", "data": {"train": str(tiny_dataset)}, "updatez": 3}
    with pytest.raises(SpecError) as caught:
        w2v2.load_job(document, {"optim.lr": -1})
    assert "did you mean `updates`?" in str(caught.value)
    assert "optim.lr" in str(caught.value)
    with pytest.raises(SpecError, match="kind: sweep, but this takes kind:"):
        w2v2.load_job("sweep_factors")


def test_validate_says_what_a_job_will_do_and_opens_its_datasets(tiny_dataset, tmp_path):
    document = {"kind": "pretrain", "preset": "tiny", "name": "x", "data": {"train": str(tiny_dataset)}}
    found = w2v2.validate(document, open_datasets=True)
    assert (found.kind, found.is_search, found.facts["name"]) == ("pretrain", False, "x")
    assert [(entry.path, entry.utterances) for entry in found.datasets] == [(str(tiny_dataset), 36)]
    document["data"]["train"] = [str(tmp_path / "none"), str(tmp_path / "neither")]
    with pytest.raises(DatasetError) as caught:
        w2v2.validate(document, open_datasets=True, look_at_paths=False)
    assert "none" in str(caught.value)
    assert "neither" in str(caught.value)
    assert w2v2.validate("sweep_factors", look_at_paths=False).is_search


def test_a_plan_is_that_of_the_job(tiny_job):
    plan = w2v2.plan(tiny_job())
    assert plan.updates == 6
    assert plan.data.kept == 34


def test_a_dataset_is_made_and_gone_through(tmp_path):
    rng = np.random.default_rng(0)
    audio = tmp_path / "audio"
    audio.mkdir()
    waves = {name: rng.integers(-5000, 5000, 8_000 + 100 * n).astype(np.int16) for n, name in enumerate("ab")}
    for name, wave in waves.items():
        soundfile.write(audio / f"{name}.wav", wave, 16_000)
        (audio / f"{name}.txt").write_text(f"SAID {name}")
    summary = w2v2.prepare(audio, tmp_path / "dataset")
    assert summary.manifest.totals.utterances == 2
    dataset = w2v2.open_dataset(tmp_path / "dataset", verify="checksums")
    utterances = list(dataset)
    assert [utterance.transcript for utterance in utterances] == ["SAID a", "SAID b"]
    for utterance, wave in zip(utterances, waves.values(), strict=True):
        np.testing.assert_array_equal(utterance.samples, wave)
        assert utterance.duration_s == len(wave) / 16_000
    assert dataset[-1].id == utterances[1].id
    assert [utterance.id for utterance in dataset[:1]] == [utterances[0].id]
    with pytest.raises(IndexError):
        dataset[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A recogniser and a pre-trained model of random weights, as model folders."""
    from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
    from w2v2_ray.model.interop.format_names import TargetFormat
    from w2v2_ray.model.interop.formats import export_model
    from w2v2_ray.model.interop.loaded_model import LoadedModel, check_model
    from w2v2_ray.spec.model import ContrastiveLossSpec

    spec = w2v2.load_job("demo_pretrain").job.model
    folder = tmp_path_factory.mktemp("models")
    vocabulary = ("<s>", "<pad>", "</s>", "<unk>", "|", *"ABC")
    torch.manual_seed(0)
    made = {
        "ctc": LoadedModel(spec, "ctc", build_ctc_model(spec, len(vocabulary)).state_dict(), vocabulary),
        "pretrain": LoadedModel(spec, "pretrain", build_pretrain_model(spec, ContrastiveLossSpec()).state_dict()),
    }
    for name, model in made.items():
        export_model(check_model(model), TargetFormat.OWN, folder / name)
    return folder


def test_a_model_hears_files_and_arrays_one_or_several(models, tmp_path):
    wave = np.random.default_rng(1).integers(-8000, 8000, 20_000).astype(np.int16)
    file = tmp_path / "a.wav"
    soundfile.write(file, wave, 16_000)
    model = w2v2.load(models / "ctc", device="cpu")
    assert (model.kind, model.vocabulary[5]) == ("ctc", "A")
    assert "ctc model of" in repr(model)
    of_file, of_array = model.transcribe(file), model.transcribe(wave)
    assert of_file.text == of_array.text
    assert of_file.name == str(file)
    both = model.transcribe([str(file), wave / np.float32(32768), torch.from_numpy(wave)])
    assert [transcript.text for transcript in both] == [of_file.text] * 3
    states = model.features(wave, [2, -1])
    assert list(states.layers) == [2, model.num_layers]
    assert states.layers[2].shape == (62, model.spec.encoder.dim)
    assert model.features([file], pooled=True)[0].layers[model.num_layers].shape == (model.spec.encoder.dim,)


def test_codes_come_from_a_pretrained_model_only(models):
    wave = np.random.default_rng(1).integers(-8000, 8000, 20_000).astype(np.int16)
    model = w2v2.load(models / "pretrain", device="cpu")
    codes = model.codes(wave)
    assert codes.entries.shape == (62, model.spec.quantizer.codebooks)
    with pytest.raises(CheckpointError, match="no quantizer"):
        w2v2.load(models / "ctc", device="cpu").codes(wave)
    with pytest.raises(CheckpointError, match="has no outputs to transcribe with"):
        model.transcribe(wave)


def test_samples_of_another_rate_are_resampled_as_files_are(models, tmp_path):
    wave = (8000 * np.sin(np.arange(16_000) * 0.05)).astype(np.int16)
    file = tmp_path / "slow.wav"
    soundfile.write(file, wave, 8_000)
    model = w2v2.load(models / "pretrain", device="cpu")
    np.testing.assert_array_equal(model.codes(wave, sample_rate=8_000).entries, model.codes(file).entries)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 100), np.float32), r"shape \[2, 100\]; one channel is taken"),
        (np.zeros(100, np.int32), "type int32; give int16, or floats"),
        (np.array([0.0, np.nan]), "NaN or infinite"),
    ],
)
def test_what_is_no_audio_is_said(samples, message):
    with pytest.raises(AudioError, match=message):
        samples_of(samples)


def test_errors_are_exceptions_of_ours_with_the_message_of_the_command(models, tmp_path):
    with pytest.raises(UserError, match="none"):
        w2v2.load(tmp_path / "none")
    with pytest.raises(AudioError, match=r"none\.wav"):
        w2v2.load(models / "ctc", device="cpu").transcribe(tmp_path / "none.wav")
    with pytest.raises(DatasetError):
        w2v2.open_dataset(tmp_path)


def test_evaluate_judges_as_the_command_does(models, labelled_dataset):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluation = w2v2.evaluate(models / "ctc", labelled_dataset, device="cpu", limit=5)
    assert evaluation.utterances == 5
    assert evaluation.scores.words.rate > 0
