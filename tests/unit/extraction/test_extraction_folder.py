"""Extractions as files: exact, gone on with after a stop, read back, and what is wrong said by name."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import w2v2_ray as w2v2
from w2v2_ray.cli.app import app
from w2v2_ray.data.listening.pieces import Cutting
from w2v2_ray.errors import AudioError, CheckpointError, DatasetError, SpecError, StorageError
from w2v2_ray.extraction.rows import as_dtype, from_dtype
from w2v2_ray.extraction.units import Units
from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model
from w2v2_ray.model.interop.loaded_model import LoadedModel, check_model
from w2v2_ray.spec.model import ContrastiveLossSpec

WAVES = {
    name: np.random.default_rng(seed).integers(-9000, 9000, 6_000 + 1_700 * seed).astype(np.int16)
    for seed, name in enumerate(("a", "b", "c", "d", "e"))
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    spec = w2v2.load_job("demo_pretrain").job.model
    torch.manual_seed(0)
    network = build_pretrain_model(spec, ContrastiveLossSpec())
    folder = tmp_path_factory.mktemp("model") / "model"
    export_model(check_model(LoadedModel(spec, "pretrain", network.state_dict())), TargetFormat.OWN, folder)
    return folder


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    for name, wave in WAVES.items():
        soundfile.write(folder / f"{name}.wav", wave, 16_000)
    return folder


def extract(model, audio, out, **options):
    return w2v2.extract(model, audio, out, device="cpu", **options)


def bytes_of(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_rows_are_what_the_model_gives(model, audio, tmp_path):
    done = extract(
        model, audio, tmp_path / "out", settings=w2v2.ExtractSettings(layers=("features", 2, -1)), rows_per_file=2
    )
    assert (done.sources, done.failures) == (5, ())
    direct = w2v2.load(model, device="cpu")
    rows = list(w2v2.open_extraction(tmp_path / "out"))
    assert [row["id"] for row in rows] == [str(audio / f"{name}.wav") for name in WAVES]
    for row, wave in zip(rows, WAVES.values(), strict=True):
        layers = direct.features(wave, ["features", 2, -1]).layers
        for column, layer in (("features", "features"), ("layer_2", 2), (f"layer_{direct.num_layers}", -1)):
            expected = layers[direct.num_layers if layer == -1 else layer]
            np.testing.assert_allclose(row[column], expected, atol=1e-5)
        assert row["duration_s"] == pytest.approx(len(wave) / 16_000)


@pytest.mark.parametrize(("dtype", "error"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_half_types_are_read_back_as_float32(model, audio, tmp_path, dtype, error):
    settings = partial(w2v2.ExtractSettings, pooled=True)
    extract(model, audio, tmp_path / "full", settings=settings())
    extract(model, audio, tmp_path / "half", settings=settings(dtype=dtype))
    for full, half in zip(*(w2v2.open_extraction(tmp_path / name) for name in ("full", "half")), strict=True):
        [column] = [name for name in full if name.startswith("layer_")]
        assert half[column].dtype == np.float32
        np.testing.assert_allclose(half[column], full[column], rtol=error, atol=error)
        assert np.any(half[column] != full[column])


def test_bfloat16_is_rounded_as_torch_rounds():
    values = np.concatenate([np.random.default_rng(0).normal(size=5_000), [0.0, 1.00390625, 1.01171875]]).astype(
        np.float32
    )
    ours = from_dtype(as_dtype(values, "bfloat16"), "bfloat16")
    np.testing.assert_array_equal(ours, torch.from_numpy(values).bfloat16().float().numpy())


def test_layers_are_weighed_into_one(model, audio, tmp_path):
    settings = w2v2.ExtractSettings(layers=(1, 2), weights=(1.0, 3.0))
    extract(model, audio, tmp_path / "out", settings=settings)
    states = w2v2.load(model, device="cpu").features(WAVES["a"], [1, 2]).layers
    row = next(iter(w2v2.open_extraction(tmp_path / "out")))
    np.testing.assert_allclose(row["mean_of_layers"], 0.25 * states[1] + 0.75 * states[2], atol=1e-5)


def test_codes_are_kept_frame_by_frame_or_run_by_run(model, audio, tmp_path):
    extract(model, audio, tmp_path / "codes", settings=w2v2.ExtractSettings(what="codes"))
    extract(model, audio, tmp_path / "runs", settings=w2v2.ExtractSettings(what="codes", collapsed=True))
    direct = w2v2.load(model, device="cpu").codes(list(WAVES.values()))
    for row, run, codes in zip(
        w2v2.open_extraction(tmp_path / "codes"), w2v2.open_extraction(tmp_path / "runs"), direct, strict=True
    ):
        np.testing.assert_array_equal(row["codes"], codes.entries)
        assert list(zip(run["codes"], run["start_s"], run["end_s"], strict=True)) == codes.runs()


def test_units_are_the_nearest_of_fitted_centres_and_can_be_used_again(model, audio, tmp_path):
    settings = w2v2.ExtractSettings(what="units", layers=(2,))
    fit = w2v2.FitUnits(6, sample_frames=100, out=tmp_path / "units.npy")
    extract(model, audio, tmp_path / "one", settings=settings, units=fit)
    extract(model, audio, tmp_path / "two", settings=settings, units=tmp_path / "units.npy")
    centres = np.load(tmp_path / "units.npy")
    assert centres.shape[0] == 6
    frames = w2v2.load(model, device="cpu").features(WAVES["b"], [2]).layers[2]
    expected = np.square(frames[:, None] - centres).sum(2).argmin(1)
    one, two = (list(w2v2.open_extraction(tmp_path / name)) for name in ("one", "two"))
    np.testing.assert_array_equal(one[1]["units"], expected)
    assert len(set(expected.tolist())) > 1
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first["units"], second["units"])


def test_one_that_was_stopped_is_gone_on_with_and_is_the_same(model, audio, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    extract(model, audio, whole, rows_per_file=1)

    class StoppedError(Exception):
        pass

    def stop(done, total):
        if done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        extract(model, audio, stopped, rows_per_file=1, progress=stop)
    written = sorted(file.name for file in stopped.glob("*.arrow"))
    assert len(written) == 2
    with pytest.raises(DatasetError, match="2 of 5 files are there; give the same `w2v2-ray extract` again"):
        w2v2.open_extraction(stopped)
    seen = []
    extract(model, audio, stopped, rows_per_file=1, progress=lambda done, total: seen.append(done))
    assert seen == [2, 3, 4, 5]
    assert bytes_of(whole) == bytes_of(stopped)


def test_another_extraction_and_other_files_are_left_alone(model, audio, tmp_path):
    out = tmp_path / "out"
    extract(model, audio, out)
    before = bytes_of(out)
    with pytest.raises(StorageError, match=r"holds another extraction \(settings differ\)"):
        extract(model, audio, out, settings=w2v2.ExtractSettings(layers=(1,)))
    assert bytes_of(out) == before
    with pytest.raises(StorageError, match="exists and holds something else"):
        extract(model, audio, audio)
    assert sorted(file.stem for file in audio.iterdir()) == list(WAVES)


def test_a_broken_file_is_told_and_the_others_are_there(model, audio, tmp_path):
    (audio / "bad.wav").write_bytes(b"RIFF\x00\x00")
    for _ in range(2):  # told again by a call that has nothing left to do
        done = extract(model, audio, tmp_path / "out", rows_per_file=2)
        assert [failure.name for failure in done.failures] == [str(audio / "bad.wav")]
        assert len(list(w2v2.open_extraction(tmp_path / "out"))) == 5


def test_nothing_depends_on_the_batch(model, audio, tmp_path):
    cutting = partial(Cutting, window_s=2.0, overlap_s=0.5)
    for batch_size in (1, 3):
        settings = w2v2.ExtractSettings(cutting=cutting(batch_size=batch_size))
        extract(model, audio, tmp_path / str(batch_size), settings=settings)
    for one, three in zip(*(w2v2.open_extraction(tmp_path / name) for name in ("1", "3")), strict=True):
        [column] = [name for name in one if name.startswith("layer_")]
        np.testing.assert_allclose(one[column], three[column], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": (1.0,), "layers": (1, 2)}, "--weights: 1 numbers for 2 layers"),
        ({"what": "units", "layers": (1, 2)}, "units are of one layer, not of 2"),
        ({"what": "codes", "pooled": True}, "codes have none of them"),
        ({"collapsed": True}, "--collapse: is for codes and units"),
    ],
)
def test_settings_that_do_not_go_together_are_said(options, message):
    with pytest.raises(SpecError, match=message):
        w2v2.ExtractSettings(**options)


def test_what_holds_no_units_is_said(tmp_path):
    for name, content in (("text.npy", b"no"), ("empty.npy", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="holds no units"):
            Units.load(tmp_path / name)
    np.save(tmp_path / "flat.npy", np.zeros(3, np.float32))
    with pytest.raises(CheckpointError, match=r"float32 \[K, D\]"):
        Units.load(tmp_path / "flat.npy")
    np.save(tmp_path / "hostile.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError, match="holds no units"):
        Units.load(tmp_path / "hostile.npy")
    with pytest.raises(SpecError, match="fitted to another model"):
        Units(np.zeros((2, 3), np.float32)).nearest(np.zeros((1, 4), np.float32))


def run(*arguments):
    return CliRunner().invoke(app, ["extract", *map(str, arguments), "--device", "cpu"])


def test_the_command_extracts_a_dataset_a_folder_or_a_file(model, audio, tmp_path):
    w2v2.prepare(audio, tmp_path / "dataset")
    done = run(
        model, tmp_path / "dataset", "--out", tmp_path / "out", "--layers", "all", "--dtype", "float16", "--pooled"
    )
    assert done.exit_code == 0, done.output
    assert "features of 5 sources" in done.output
    rows = list(w2v2.open_extraction(tmp_path / "out"))
    assert [row["id"] for row in rows] == [utterance.id for utterance in w2v2.open_dataset(tmp_path / "dataset")]
    assert json.loads((tmp_path / "out" / "extract.json").read_text())["settings"]["layers"][0] == "features"
    weighed = run(model, audio, "--out", tmp_path / "weighed", "--layers", "1,2", "--weights", "1,1")
    assert weighed.exit_code == 0, weighed.output
    assert run(model, audio / "a.wav", "--out", tmp_path / "a.npy").exit_code == 0
    expected = w2v2.load(model, device="cpu").features(WAVES["a"])
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), next(iter(expected.layers.values())), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "top"], "is no layer"),
        (["--layers", "99"], "layer 99: this model has layers 0"),
        (["--what", "units"], "--what units goes with --units FILE or --fit-units K"),
        (["--weights", "1,2"], "--weights: 2 numbers for 1 layers"),
        (["--weights", "1,2", "--layers", "features,1"], "leave `features` out"),
        (["--weights", "a"], "numbers parted by commas are wanted"),
        (["--what", "units", "--fit-units", "5000"], "more clusters than the"),
    ],
)
def test_a_wrong_option_is_one_message_and_leaves_nothing(model, audio, tmp_path, arguments, message):
    done = run(model, audio, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "out").exists()


def test_the_command_ends_with_2_and_names_what_failed(model, audio, tmp_path):
    (audio / "bad.wav").write_bytes(b"no audio")
    done = run(model, audio, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "1 of 6 could not be extracted" in done.output
    assert "bad.wav" in done.output
    with pytest.raises(AudioError):
        w2v2.load(model, device="cpu").features(audio / "bad.wav")


def test_hugging_face_reads_the_folder(model, audio, tmp_path):
    datasets = pytest.importorskip("datasets", reason="the library datasets is not installed")
    extract(model, audio, tmp_path / "out", settings=w2v2.ExtractSettings(layers=(2,)), rows_per_file=2)
    theirs = datasets.load_from_disk(str(tmp_path / "out")).with_format("numpy")
    for row, ours in zip(theirs, w2v2.open_extraction(tmp_path / "out"), strict=True):
        assert row["id"] == ours["id"]
        np.testing.assert_array_equal(row["layer_2"], ours["layer_2"])


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    spec = w2v2.load_job("demo_pretrain").job.model
    vocabulary = ("<s>", "<pad>", "</s>", "<unk>", "|", *"ABC")
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("recogniser") / "model"
    made = LoadedModel(spec, "ctc", build_ctc_model(spec, len(vocabulary)).state_dict(), vocabulary)
    export_model(check_model(made), TargetFormat.OWN, folder)
    return folder


def test_log_probabilities_are_those_that_transcription_sees_with_symbols_and_times(recogniser, model, audio, tmp_path):
    assert run(recogniser, audio, "--out", tmp_path / "out", "--what", "logits").exit_code == 0
    extraction = w2v2.open_extraction(tmp_path / "out")
    expected = w2v2.load(recogniser, device="cpu").recogniser.log_probs(list(WAVES.values()))
    for row, log_probs in zip(extraction, expected, strict=True):
        np.testing.assert_allclose(row["logits"], log_probs, atol=1e-5)
    assert extraction.about["vocabulary"][5:] == ["A", "B", "C"]
    assert extraction.about["frame_s"] == 0.02
    done = run(model, audio, "--out", tmp_path / "none", "--what", "logits")
    assert done.exit_code == 2
    assert "no recogniser, so no log-probabilities" in done.output


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_another_extraction(recogniser, audio, tmp_path, precision):
    full, half = (w2v2.load(recogniser, device="cpu", precision=p) for p in ("fp32", precision))
    wave = WAVES["e"]
    a, b = (found.recogniser.log_probs([wave])[0] for found in (full, half))
    assert np.abs(a - b).max() < 0.2
    assert np.any(a != b)
    a, b = (found.features(wave).layers[full.num_layers] for found in (full, half))
    assert b.dtype == np.float32
    assert 0 < np.abs(a - b).max() < 0.2
    extract(recogniser, audio, tmp_path / "out")
    with pytest.raises(StorageError, match="precision differ"):
        extract(recogniser, audio, tmp_path / "out", precision=precision)


def test_a_list_names_inputs_relative_to_itself(model, audio, tmp_path):
    listed = audio / "list.txt"
    listed.write_text("c.wav\n\na.wav\n")
    assert run(model, listed, "--out", tmp_path / "out").exit_code == 0
    rows = list(w2v2.open_extraction(tmp_path / "out"))
    assert [row["id"] for row in rows] == [str(audio / "c.wav"), str(audio / "a.wav")]
    listed.write_text("c.wav\nmissing.wav\n")
    done = run(model, listed, "--out", tmp_path / "other")
    assert done.exit_code == 2
    assert "list.txt:2:" in done.output
