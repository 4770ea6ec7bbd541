"""`w2v2-ray transcribe` on files, folders and datasets, good and bad."""

from __future__ import annotations

import json

import numpy as np
import pysubs2
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from w2v2_ray.cli.app import app
from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model
from w2v2_ray.model.interop.model_folder import load_model, save_model
from w2v2_ray.spec.symbols import SPECIALS

VOCABULARY = (*SPECIALS, "|", *"ETAOINHSR")


@pytest.fixture(scope="module")
def model(make_tiny_job, tmp_path_factory):
    """A recogniser with random weights that hears something."""
    folder = tmp_path_factory.mktemp("models")
    spec = make_tiny_job(folder).model
    torch.manual_seed(8)
    network = build_ctc_model(spec, len(VOCABULARY))
    with torch.no_grad():
        network.head.weight.mul_(20.0)
    save_model(folder / "ctc", spec, "ctc", dict(network.state_dict()), VOCABULARY)
    return folder / "ctc"


@pytest.fixture
def audio(tmp_path):
    """A folder with a FLAC, an 8 kHz stereo WAV, an MP3 and a text file."""
    folder = tmp_path / "audio"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(4)
    for name, rate_hz, channels in (("a.flac", 16_000, 1), ("deep/b.wav", 8_000, 2), ("c.mp3", 16_000, 1)):
        samples = rng.normal(0, 0.1, (rate_hz * 2, channels)) * np.sin(np.arange(rate_hz * 2) / 700)[:, None]
        soundfile.write(folder / name, samples, rate_hz)
    (folder / "notes.txt").write_text("not audio")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["transcribe", *map(str, arguments)])


def test_one_file_is_its_text(model, audio):
    result = run(model, audio / "a.flac")
    assert result.exit_code == 0
    assert len(result.stdout.strip()) > 3
    assert "\t" not in result.stdout


def test_a_folder_is_a_line_a_file_in_the_order_of_names(model, audio):
    result = run(model, audio)
    assert result.exit_code == 0, result.output
    names = [line.split("\t")[0] for line in result.stdout.splitlines()]
    assert names == [str(audio / name) for name in ("a.flac", "c.mp3", "deep/b.wav")]


def test_the_batch_size_changes_no_transcript(model, audio, tiny_dataset):
    outputs = {run(model, audio, tiny_dataset, "--batch-size", size).stdout for size in (1, 3, 16)}
    assert len(outputs) == 1
    assert outputs.pop().count("\n") == 3 + 36


@pytest.mark.parametrize("wanted", ["srt", "vtt"])
def test_subtitles_are_written_one_file_each(model, audio, tmp_path, wanted):
    out = tmp_path / "out"
    result = run(model, audio, "--format", wanted, "--out", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [f"{stem}.{wanted}" for stem in "abc"]
    assert all(len(pysubs2.load(str(path))) for path in out.iterdir())


def test_json_lines_go_to_one_file(model, audio, tmp_path):
    out = tmp_path / "all.jsonl"
    assert run(model, audio, "--format", "jsonl", "--timestamps", "character", "--out", out).exit_code == 0
    documents = [json.loads(line) for line in out.read_text().splitlines()]
    assert [document["duration_s"] for document in documents] == pytest.approx([2.0, 2.0, 2.0], abs=0.1)
    for document in documents:
        assert document["text"] == " ".join(word["word"] for word in document["words"])
        assert all(0 <= word["start_s"] < word["end_s"] <= 2.1 for word in document["words"])


def test_a_language_model_chooses_among_words(model, audio, tmp_path):
    pytest.importorskip("flashlight.lib.text", reason="the extra `lm` is not installed")
    arpa = tmp_path / "lm.arpa"
    arpa.write_text(
        "\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-1\t<unk>\n-9\t<s>\t0\n-1\t</s>\n-0.3\tTEA\t0\n\n"
        "\\2-grams:\n-0.1\tTEA TEA\n\n\\end\\\n"
    )
    result = run(model, audio, "--lm", arpa)
    assert result.exit_code == 0, result.output
    words = {word for line in result.stdout.splitlines() for word in line.split("\t")[1].split()}
    assert words <= {"TEA"}


def test_a_bad_file_is_named_and_the_others_are_transcribed(model, audio):
    (audio / "b0.wav").touch()
    (audio / "b1.flac").write_bytes(b"not a flac file at all")
    result = run(model, audio)
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 3
    assert "2 of 5 could not be transcribed" in result.stderr
    assert f"{audio / 'b0.wav'}: empty: the file has 0 bytes" in result.stderr
    assert "b1.flac: wrong_header" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_is_heard_as_prepare_lists_it(model, audio):
    (audio / ".hid").mkdir()
    for name in ("._a.flac", ".hid/x.wav", "talk.m4a"):
        (audio / name).write_bytes(b"no audio")
    soundfile.write(audio / "d.opus", np.zeros(16_000), 16_000, format="OGG", subtype="OPUS")
    result = run(model, audio)
    assert result.exit_code == 0, result.output
    names = [line.split("\t")[0] for line in result.stdout.splitlines()]
    assert names == [str(audio / name) for name in ("a.flac", "c.mp3", "d.opus", "deep/b.wav")]
    assert "passed over 1 audio to convert (.m4a; such as talk.m4a)" in result.stderr
    assert "passed over 2 hidden files and folders" in result.stderr


def test_what_is_not_there_is_said(model, audio, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, message in (
        ((model, tmp_path / "none.wav"), "there is no such file or folder"),
        ((model, empty), "no audio found"),
        ((tmp_path / "model", audio), "model"),
        ((model, audio, "--window-s", "4", "--overlap-s", "3"), "use 2 or less"),
        ((model, audio / "a.flac", audio / "c.mp3", "--format", "srt"), "give --out FOLDER"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert message in result.stderr


def test_a_pre_training_model_cannot_transcribe(make_tiny_job, audio, tmp_path):
    spec = make_tiny_job(tmp_path).model
    save_model(tmp_path / "pretrained", spec, "pretrain", dict(build_pretrain_model(spec).state_dict()))
    result = run(tmp_path / "pretrained", audio)
    assert result.exit_code == 2
    assert "fine-tune it first" in result.stderr


def test_a_vocabulary_of_another_size_is_refused(model, audio, tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(["<s>", "|", "A"]))
    result = run(model, audio, "--vocabulary", path)
    assert result.exit_code == 2
    assert "3 symbols for 14 outputs" in result.stderr


@pytest.mark.parametrize("wanted", ["text", "jsonl", "ctm"])
def test_nothing_is_written_when_nothing_could_be_transcribed(model, tmp_path, wanted):
    (tmp_path / "bad.wav").touch()
    out = tmp_path / "out" / "all.txt"
    result = run(model, tmp_path / "bad.wav", "--format", wanted, "--out", out)
    assert result.exit_code == 2
    assert not out.exists()


def test_a_bad_file_leaves_the_files_of_the_others_and_none_of_its_own(model, audio, tmp_path):
    content = (audio / "a.flac").read_bytes()
    (audio / "cut.flac").write_bytes(content[: len(content) // 2])
    out = tmp_path / "out"
    result = run(model, audio, "--out", out)
    assert result.exit_code == 2
    assert "cut.flac: truncated" in result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["a.txt", "b.txt", "c.txt"]


def test_two_inputs_of_one_name_get_a_file_each(model, audio, tmp_path):
    out = tmp_path / "out"
    (audio / "deep" / "a.wav").write_bytes((audio / "deep" / "b.wav").read_bytes())
    assert run(model, audio, "--out", out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.txt", "a~2.txt", "b.txt", "c.txt"]


def test_the_transcript_of_a_short_file_does_not_depend_on_the_window(model, audio):
    outputs = {run(model, audio, "--window-s", w, "--overlap-s", o).stdout for w, o in ((3, 1), (15, 3), (30, 10))}
    assert len(outputs) == 1


def test_ctm_is_read_back(model, audio):
    lines = run(model, audio, "--format", "ctm").stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"a", "b", "c"}
    for line in lines:
        _, channel, start_s, length_s, word, confidence = line.split()
        assert channel == "1"
        assert 0 <= float(start_s) < float(start_s) + float(length_s) <= 2.1
        assert word.isalpha()
        assert 0 < float(confidence) <= 1


def test_what_was_noticed_about_a_model_is_said_beside_its_transcript(make_tiny_job, audio, tmp_path):
    spec = make_tiny_job(tmp_path, {"model.encoder.hourglass": None}).model
    torch.manual_seed(8)
    save_model(tmp_path / "own", spec, "ctc", dict(build_ctc_model(spec, len(VOCABULARY)).state_dict()), VOCABULARY)
    export_model(load_model(tmp_path / "own"), TargetFormat.TORCHAUDIO, tmp_path / "model.pt")
    (tmp_path / "vocab.json").write_text(json.dumps(VOCABULARY))
    result = run(tmp_path / "model.pt", audio / "a.flac", "--vocabulary", tmp_path / "vocab.json")
    assert result.exit_code == 0
    assert "note: " in result.stderr
    assert "note: " not in result.stdout
    assert run(tmp_path / "own", audio / "a.flac").stderr.count("note: ") == 0


def test_a_silent_and_a_saturated_file_are_named(model, audio, tmp_path):
    soundfile.write(audio / "silent.wav", np.full(32_000, 3, np.int16), 16_000)
    soundfile.write(audio / "square.wav", np.sign(np.sin(np.arange(32_000) / 20)), 16_000)
    result = run(model, audio, "--format", "jsonl", "--out", tmp_path / "all.jsonl")
    assert result.exit_code == 0, result.output
    lines = {line["name"]: line for line in map(json.loads, (tmp_path / "all.jsonl").read_text().splitlines())}
    silent, square = lines[str(audio / "silent.wav")], lines[str(audio / "square.wav")]
    assert silent["confidence"] is None
    assert silent["note"].startswith("silent: nothing is louder than ")
    assert square["note"].startswith("saturated: ")
    assert square["confidence"] is not None
    assert "note" not in lines[str(audio / "a.flac")]
    assert "silent.wav: silent" in result.stderr
    assert "square.wav: saturated" in result.stderr


def test_floats_on_the_scale_of_integers_are_not_transcribed(model, audio):
    soundfile.write(audio / "scale.wav", np.random.default_rng(0).normal(0, 3_000, 32_000), 16_000, subtype="FLOAT")
    result = run(model, audio / "scale.wav")
    assert result.exit_code == 2
    assert "out_of_range: the largest sample is " in result.stderr
