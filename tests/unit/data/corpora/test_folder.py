"""Folders of audio: where their transcripts are found, and which are passed over."""

from __future__ import annotations

import json

import pytest

from w2v2_ray.data.corpora.notes import Passed
from w2v2_ray.data.ingestion.sources import read_source
from w2v2_ray.errors import DatasetError


def make(root, *names, **texts):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name, text in texts.items():
        (root / name).write_text(text)


def transcripts(listing):
    return {item.id: item.transcript for item in listing.items}


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.lab", "a.Lab", "a.trans", "a.normalized.txt", "a.wav.txt"])
def test_a_transcript_beside_its_audio_is_read_under_every_usual_name(tmp_path, name):
    make(tmp_path, "a.wav", "b.wav", **{name: "hello\n world"})
    listing = read_source(tmp_path)
    assert transcripts(listing) == {"a": "hello world", "b": None}
    assert listing.notes.read_lines() == [f"transcripts from {name[1:]} (1)"]
    assert listing.notes.passed_lines() == []


def test_upper_case_audio_has_its_upper_case_transcript(tmp_path):
    make(tmp_path, "SA1.WAV", **{"SA1.TXT": "she had"})
    assert transcripts(read_source(tmp_path)) == {"SA1": "she had"}


def test_transcripts_without_audio_are_counted_with_examples(tmp_path):
    make(tmp_path, "wav/a.wav", "txt/a.txt", "txt/b.txt")
    notes = read_source(tmp_path).notes
    assert notes.passed[Passed.WITHOUT_AUDIO] == {".txt": 2}
    assert "such as txt/a.txt, txt/b.txt" in notes.passed_lines()[0]


def test_a_second_transcript_and_labels_with_times_are_counted(tmp_path):
    make(tmp_path, "a.wav", "b.wav", **{"a.txt": "yes", "a.lab": "no", "b.lab": "0 500 sil\n500 900 ah\n"})
    listing = read_source(tmp_path)
    assert transcripts(listing) == {"a": "yes", "b": None}
    assert listing.notes.passed[Passed.OTHER_TEXTS] == {".lab": 1}
    assert listing.notes.passed[Passed.TIMED_TEXTS] == {".lab": 1}


def test_sample_numbers_of_timit_do_not_become_words(tmp_path):
    make(tmp_path, "a.wav", "b.wav", **{"a.txt": "0 46797 She had your dark suit.", "b.txt": "0 1 2 3"})
    listing = read_source(tmp_path)
    assert transcripts(listing) == {"a": "She had your dark suit.", "b": "0 1 2 3"}
    assert listing.notes.read_from == {"transcripts from .txt with times": 1, "transcripts from .txt": 1}


def test_labels_line_by_line_do_not_become_words(tmp_path):
    make(tmp_path, "a.wav", "b.wav", **{"a.txt": "0 1500 sil\n1500 3000 she", "b.lab": "0 5000000 sil"})
    listing = read_source(tmp_path)
    assert transcripts(listing) == {"a": None, "b": None}
    assert listing.notes.passed[Passed.TIMED_TEXTS] == {".txt": 1, ".lab": 1}


def test_empty_transcripts_are_counted(tmp_path):
    make(tmp_path, "a.wav", "a.txt")
    assert read_source(tmp_path).notes.passed[Passed.EMPTY_TEXTS] == {".txt": 1}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,transcription,speaker_id\na.wav,yes,ann\n"),
        ("metadata.csv", "a|Yes 1.|yes\n"),
        ("metadata.jsonl", '{"file_name": "a.wav", "text": "yes"}\n'),
        ("train.tsv", "client_id\tpath\tsentence\nann\ta.wav\tyes\n"),
        ("list.json", '[{"audio": "a.wav", "sentence": "yes"}]'),
    ],
)
def test_a_table_in_the_folder_gives_the_transcripts_of_what_it_lists(tmp_path, name, content):
    make(tmp_path, "a.wav", "b.wav", **{name: content})
    listing = read_source(tmp_path)
    assert transcripts(listing) == {"a": "yes", "b": None}
    assert listing.description == f"folder of audio with {name}"


def test_tables_of_hugging_face_count_from_their_own_folders(tmp_path):
    for part in ("train", "test"):
        make(tmp_path, f"{part}/1.wav", **{f"{part}/metadata.csv": f"file_name,text\n1.wav,{part} one\n"})
    listing = read_source(tmp_path)
    assert transcripts(listing) == {"test/1": "test one", "train/1": "train one"}
    assert [item.path for item in listing.items] == [str(tmp_path / part / "1.wav") for part in ("test", "train")]


def test_several_tables_without_a_leading_one_are_refused_by_name(tmp_path):
    for part in ("train", "dev"):
        make(tmp_path, "clips/a.mp3", **{f"{part}.tsv": "client_id\tpath\tsentence\nann\ta.mp3\tyes\n"})
    with pytest.raises(
        DatasetError, match=r"several lists of audio.*\(dev\.tsv, train\.tsv\); give one.*--format folder"
    ):
        read_source(tmp_path)
    plain = read_source(tmp_path, "folder")
    assert transcripts(plain) == {"clips/a": None}
    assert plain.notes.passed[Passed.TABLES] == {"dev.tsv": 1, "train.tsv": 1}


def test_one_audio_file_is_a_source(tmp_path):
    make(tmp_path, "a.wav", "b.wav", **{"a.txt": "yes"})
    assert transcripts(read_source(tmp_path / "a.wav")) == {"a": "yes"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("corpus.zip", r"an archive: unpack it \(unzip corpus\.zip\)"),
        ("corpus.tar.gz", r"an archive: unpack it \(tar -xf corpus\.tar\.gz\)"),
        ("talk.m4a", r"ffmpeg -i \"talk\.m4a\""),
        ("train.arrow", "write its audio to files"),
        ("words.csv", "--audio-key"),
        ("notes.doc", "give a folder, an audio file"),
    ],
)
def test_a_file_that_is_no_source_is_named_for_what_it_is(tmp_path, name, message):
    (tmp_path / name).write_text("x,y\n1,2\n")
    with pytest.raises(DatasetError, match=rf"{name}: cannot guess the format.*{message}"):
        read_source(tmp_path / name)


def test_a_dataset_given_as_a_source_is_called_one(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({}))
    with pytest.raises(DatasetError, match="this is a dataset already"):
        read_source(tmp_path)


def test_librispeech_notes_what_it_passes_over(tmp_path):
    make(tmp_path, "84/1/84-1-0000.flac", "84/1/84-1-0000.wav", "84/1/x.m4a", "SPEAKERS.TXT")
    (tmp_path / "84/1/84-1.trans.txt").write_text("84-1-0000 YES\n")
    listing = read_source(tmp_path)
    assert transcripts(listing) == {"84-1-0000": "YES"}
    passed = listing.notes.passed
    assert (passed[Passed.TWINS], passed[Passed.CONVERTIBLE], passed[Passed.WITHOUT_AUDIO]) == (
        {".flac": 1},
        {".m4a": 1},
        {".TXT": 1},
    )


def test_librispeech_refuses_two_texts_for_one_utterance(tmp_path):
    make(tmp_path, "84/1/84-1-0000.flac")
    (tmp_path / "84/1/84-1.trans.txt").write_text("84-1-0000 YES\n84-1-0000 NO\n")
    with pytest.raises(DatasetError, match=r"84-1\.trans\.txt:2: 84-1-0000 is there with another text"):
        read_source(tmp_path)
