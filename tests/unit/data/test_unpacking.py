"""Datasets go out as they came in: what is unpacked is read again in every form, with nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from w2v2_ray.cli.app import app
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.unpacking import FORMS, unpack_dataset
from w2v2_ray.errors import StorageError, UserError
from w2v2_ray.orchestration.ingest import prepare_dataset

SOURCES = {"nemo": "manifest.jsonl", "huggingface": "metadata.jsonl", "lhotse": "cuts.jsonl.gz", "kaldi": "."}


@pytest.fixture
def dataset(make_dataset) -> SpeechDataset:
    return make_dataset(utterances=7)


def content(opened: SpeechDataset):
    return [(entry.transcript, entry.speaker, np.asarray(entry.samples).tobytes()) for entry in opened]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_unpacked_is_read_again_whole(dataset, tmp_path, form):
    assert unpack_dataset(dataset, tmp_path / "files", [form]) == 7
    prepare_dataset(tmp_path / "files" / SOURCES[form], tmp_path / "again")
    again = SpeechDataset.open(tmp_path / "again")
    assert content(again) == content(dataset)
    if form in ("lhotse", "kaldi"):
        assert [entry.id for entry in again] == [entry.id for entry in dataset]


def test_ids_that_are_no_file_names_are_told_apart(tmp_path):
    source = tmp_path / "source"
    for name in ("a/b.wav", "a__b.wav", "c:d?.wav", "é.wav"):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(len(name)).normal(0, 0.1, 8_000), 16_000)
    prepare_dataset(source, tmp_path / "dataset")
    opened = SpeechDataset.open(tmp_path / "dataset")
    unpack_dataset(opened, tmp_path / "files")
    entries = [json.loads(line) for line in (tmp_path / "files" / "manifest.jsonl").read_text().splitlines()]
    assert [entry["id"] for entry in entries] == [entry.id for entry in opened]
    files = [entry["audio_filepath"] for entry in entries]
    assert len({file.casefold() for file in files}) == 4
    for entry, utterance in zip(entries, opened, strict=True):
        samples, _ = soundfile.read(tmp_path / "files" / entry["audio_filepath"], dtype="int16")
        assert (samples == utterance.samples).all()


def test_blanks_do_not_fit_kaldi_and_nothing_is_left_behind(tmp_path):
    (tmp_path / "source").mkdir()
    soundfile.write(tmp_path / "source" / "two words.wav", np.random.default_rng(0).normal(0, 0.1, 8_000), 16_000)
    prepare_dataset(tmp_path / "source", tmp_path / "dataset")
    opened = SpeechDataset.open(tmp_path / "dataset")
    with pytest.raises(UserError, match="'two words': Kaldi's lists"):
        unpack_dataset(opened, tmp_path / "files")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "source"]
    assert unpack_dataset(opened, tmp_path / "files", ["nemo", "huggingface", "lhotse"]) == 1


def test_a_folder_with_other_files_is_left_alone(dataset, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="holds something else"):
        unpack_dataset(dataset, tmp_path / "files")
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["mine.txt"]


def test_the_same_dataset_gives_the_same_bytes(dataset, tmp_path):
    folder = tmp_path / "files"
    unpack_dataset(dataset, folder)
    first = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    unpack_dataset(dataset, folder)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == first


def test_the_command_writes_the_lists_asked_for(dataset, tmp_path):
    command = ["unpack", str(Path(dataset.uri)), "--out", str(tmp_path / "files"), "--form", "nemo", "--form", "kaldi"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "7 utterances" in result.output
    assert {"manifest.jsonl", "wav.scp"} < {path.name for path in (tmp_path / "files").iterdir()}
    assert not (tmp_path / "files" / "cuts.jsonl.gz").exists()
