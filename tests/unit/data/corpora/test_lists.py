"""Lists of audio in JSON, tables and fairseq's files: known keys, layouts, and what is refused."""

from __future__ import annotations

import json

import pytest

from w2v2_ray.data.corpora.keys import ChosenKeys
from w2v2_ray.data.corpora.notes import Passed
from w2v2_ray.data.ingestion.sources import read_source
from w2v2_ray.errors import DatasetError


def write(root, name, content):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content)
    return root / name


def jsonl(root, *entries):
    return write(root, "train.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries))


def rows(listing):
    return [(item.source, item.transcript, item.speaker) for item in listing.items]


@pytest.mark.parametrize(
    "audio", ["audio_filepath", "audio_filename", "audio", "path", "file_name", "wav", "Audio_Path"]
)
@pytest.mark.parametrize("text", ["text", "transcription", "sentence", "transcript", "normalized_text", "Text"])
def test_the_usual_keys_are_known_and_named(tmp_path, audio, text):
    listing = read_source(jsonl(tmp_path, {audio: "a.wav", text: "yes", "client_id": "ann"}))
    assert rows(listing) == [("a.wav", "yes", "ann")]
    assert listing.notes.read_lines() == ["speakers from `client_id` (1)", f"transcripts from `{text}` (1)"]


def test_keys_may_differ_from_line_to_line(tmp_path):
    listing = read_source(jsonl(tmp_path, {"audio": "a.wav", "text": "a"}, {"path": "b.wav", "sentence": "b"}))
    assert [item.transcript for item in listing.items] == ["a", "b"]
    assert listing.notes.read_from == {"transcripts from `text`": 1, "transcripts from `sentence`": 1}


def test_a_key_without_a_value_gives_way_to_the_next(tmp_path):
    assert rows(read_source(jsonl(tmp_path, {"audio": "a.wav", "text": None, "sentence": "b"}))) == [
        ("a.wav", "b", None)
    ]


def test_unknown_keys_are_counted_and_those_that_look_like_text_are_named(tmp_path):
    path = jsonl(tmp_path, {"audio": "a.wav", "utt": "good morning to you", "lang": "en"})
    listing = read_source(path)
    assert listing.notes.passed[Passed.TEXT_KEYS] == {"utt": 1}
    assert listing.notes.passed[Passed.KEYS] == {"lang": 1}
    assert any("--text-key utt" in line for line in listing.notes.passed_lines())
    assert rows(read_source(path, chosen=ChosenKeys(text="utt"))) == [("a.wav", "good morning to you", None)]


def test_a_text_in_a_file_of_its_own_is_read(tmp_path):
    write(tmp_path, "texts/a.txt", "good morning\n")
    listing = read_source(
        jsonl(
            tmp_path,
            {"audio_filepath": "a.wav", "text_filepath": "texts/a.txt"},
            {"audio_filepath": "b.wav", "text_filepath": "texts/b.txt"},
        )
    )
    assert listing.items[0].transcript == "good morning"
    assert listing.items[1].problem == "bad_transcript: b.txt cannot be read (No such file or directory)"


def test_start_and_end_are_an_offset_and_a_duration(tmp_path):
    listing = read_source(
        jsonl(
            tmp_path,
            {"audio": "a.wav", "start": 1.5, "end": 4},
            {"audio": "a.wav", "start_time": "4.0", "duration": "2"},
            {"audio": "a.wav", "end": 1},
        )
    )
    assert [(item.offset_s, item.duration_s) for item in listing.items] == [(1.5, 2.5), (4.0, 2.0), (0.0, 1.0)]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"start": 4, "end": 1.5}, "`end` is 1.5 s, which is not after the start, 4 s"),
        ({"start": 1, "end": 3, "duration": 5}, "`end` is 3 s, but with `duration` it ends at 6 s"),
        ({"offset": -1}, "`offset` must be a number of seconds, 0 or more, this is -1"),
        ({"duration": "long"}, "`duration` must be a number of seconds"),
        ({"duration": True}, "`duration` must be a number of seconds"),
        ({"duration": "inf"}, "`duration` must be a number of seconds"),
        ({"offset": [1]}, "`offset` must be a number of seconds"),
    ],
)
def test_times_that_cannot_be_are_refused_with_the_line(tmp_path, times, message):
    with pytest.raises(DatasetError, match=rf"train\.jsonl:2: {message}"):
        read_source(jsonl(tmp_path, {"audio": "a.wav"}, {"audio": "b.wav", **times}))


def test_the_same_audio_with_different_texts_is_said_and_kept(tmp_path):
    listing = read_source(
        jsonl(
            tmp_path,
            {"audio": "a.wav", "text": "yes"},
            {"audio": "./a.wav", "text": "no"},
            {"audio": "b.wav", "text": "yes"},
            {"audio": "b.wav", "text": "yes"},
            {"audio": "c.wav", "text": "one two", "offset": 0, "duration": 2},
            {"audio": "c.wav", "text": "two", "offset": 1, "duration": 1},
        )
    )
    assert [item.problem for item in listing.items] == [None] * 6
    assert listing.contradictions == ("a.wav has 2 different texts: 'yes', 'no'",)
    assert listing.renamed == 2
    assert len({item.id for item in listing.items}) == 6


def test_one_array_is_read_like_lines(tmp_path):
    entries = [{"audio": "a.wav", "text": "yes"}, {"audio": "b.wav", "text": "no"}]
    listing = read_source(write(tmp_path, "train.json", json.dumps(entries, indent=2)))
    assert rows(listing) == [("a.wav", "yes", None), ("b.wav", "no", None)]
    with pytest.raises(DatasetError, match=r"train\.json: entry 2: must have the string `audio_filepath`"):
        read_source(write(tmp_path, "train.json", json.dumps([*entries[:1], {"text": "no"}])))
    with pytest.raises(DatasetError, match=r"train\.json:1: is not JSON"):
        read_source(write(tmp_path, "train.json", '[{"audio": "a.wav"},'))


def test_a_column_of_hugging_face_is_a_path_in_an_object(tmp_path):
    assert (
        rows(read_source(jsonl(tmp_path, {"audio": {"path": "a.wav", "bytes": None}, "text": "yes"})))[0][0] == "a.wav"
    )


TABLES = {
    "common voice": ("train.tsv", 'client_id\tpath\tsentence\tage\nann\ta.wav\tHe said "yes\tno\n', "clips/a.wav"),
    "hugging face": ("metadata.csv", 'file_name,transcription\na.wav,"yes, no"\n', "a.wav"),
    "ljspeech": ("metadata.csv", 'a|"Yes 1|yes one\nb|No.|\n', "wavs/a.wav"),
    "file list": ("list.txt", "wavs/a.wav|ann|yes no\n", "wavs/a.wav"),
    "two columns": ("list.csv", "a.wav,yes no\n", "a.wav"),
    "semicolons": ("list.csv", "path;text\na.wav;yes, no\n", "a.wav"),
    "speaker last": ("list.txt", "a.wav|yes no|ann\n", "a.wav"),
    "ids": ("transcripts.tsv", "utt_id\ttext\na\tyes no\n", "deep/1/a.wav"),
    "nameless ids": ("transcripts.txt", "a\tyes no\n", "deep/1/a.wav"),
    "windows": ("list.csv", "path,text\nclips\\a.wav,yes no\n", "clips/a.wav"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_known_by_their_first_lines_and_read(tmp_path, name):
    file, content, audio = TABLES[name]
    write(tmp_path, audio, "")
    (tmp_path / audio).with_name("b.wav").touch()
    listing = read_source(write(tmp_path, file, content))
    assert listing.source_format == "table"
    assert listing.items[0].path == str(tmp_path / audio)
    expected = {
        "common voice": ('He said "yes', "ann"),
        "hugging face": ("yes, no", None),
        "ljspeech": ("yes one", None),
        "file list": ("yes no", "ann"),
        "semicolons": ("yes, no", None),
        "speaker last": ("yes no", "ann"),
        "two columns": ("yes no", None),
        "ids": ("yes no", "1"),
        "nameless ids": ("yes no", "1"),
        "windows": ("yes no", None),
    }[name]
    assert (listing.items[0].transcript, listing.items[0].speaker) == expected


def test_ljspeech_falls_back_to_the_raw_text_and_can_be_told_to_take_it(tmp_path):
    for stem in "ab":
        write(tmp_path, f"wavs/{stem}.flac", "")
    path = write(tmp_path, "metadata.csv", "a|Yes 1.|yes one\nb|No.|\n")
    assert [item.transcript for item in read_source(path).items] == ["yes one", "No."]
    raw = read_source(path, chosen=ChosenKeys(text="raw_text"))
    assert [item.transcript for item in raw.items] == ["Yes 1.", "No."]


def test_a_path_that_leads_nowhere_is_not_taken_from_its_namesake(tmp_path):
    write(tmp_path, "test/1.wav", "")
    listing = read_source(write(tmp_path, "train.csv", "path,text\ntrain/1.wav,yes\n"))
    assert listing.items[0].path == str(tmp_path / "train" / "1.wav")  # ingest will reject it as missing


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,text\na.wav,yes,no\n", r"t\.csv:2: has 3 columns, 2 are wanted \(path, text\)"),
        ('path,text\na.wav,"yes\nb.wav,no\n', "look for a lone quotation mark"),
        ("path,text\n,yes\n", r"t\.csv:2: must have the string `audio_filepath`"),
        ("a.wav,1.5\nb.wav,2\n", "names no column of audio"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_place(tmp_path, content, message):
    with pytest.raises(DatasetError, match=message):
        read_source(write(tmp_path, "t.csv", content))


def test_a_tsv_that_is_no_table_is_still_a_fairseq_manifest(tmp_path):
    write(tmp_path, "wavs/a.wav", "")
    listing = read_source(write(tmp_path, "train.tsv", "wavs\na.wav\t16000\n"))
    assert (listing.source_format, listing.items[0].frames) == ("manifest", 16000)
    with pytest.raises(DatasetError, match=r"must be the folder of the audio files; in a table .*--audio-key"):
        read_source(write(tmp_path, "other.tsv", "who\twhat\nann\tyes\n"))


def test_words_beside_a_fairseq_manifest_are_read_and_other_labels_named(tmp_path):
    write(tmp_path, "wavs/a.wav", "")
    path = write(tmp_path, "train.tsv", "wavs\na.wav\t16000\n")
    write(tmp_path, "train.phn", "Y EH S\n")
    listing = read_source(path)
    assert listing.items[0].transcript is None
    assert listing.notes.passed[Passed.TEXTS_OF_MANIFEST] == {"train.phn": 1}
    write(tmp_path, "train.wrd", "YES  SIR\n")
    listing = read_source(path)
    assert listing.items[0].transcript == "YES SIR"
    assert listing.notes.read_lines() == ["transcripts from train.wrd (1)"]
    write(tmp_path, "train.wrd", "YES\nNO\n")
    with pytest.raises(DatasetError, match=r"train\.wrd: has 2 transcripts for the 1 files"):
        read_source(path)


def test_a_table_of_another_encoding_is_called_that(tmp_path):
    (tmp_path / "t.csv").write_bytes("path,text\na.wav,yes\n".encode("utf-16"))
    with pytest.raises(DatasetError, match=r"t\.csv: is not UTF-8 text"):
        read_source(tmp_path / "t.csv")


def test_half_a_character_is_no_speaker_and_no_text(tmp_path):
    (item,) = read_source(jsonl(tmp_path, {"audio": "a.wav", "text": "a\udfffb", "speaker": "\ud800x"})).items
    assert (item.transcript, item.speaker) == ("a?b", "?x")


@pytest.mark.parametrize("name", ["a\0.wav", "\udfff.wav"])
def test_what_can_be_no_path_is_refused_with_the_line(tmp_path, name):
    with pytest.raises(DatasetError, match=r"train\.jsonl:1: `audio` is no path"):
        read_source(jsonl(tmp_path, {"audio": name}))


def test_json_that_is_nested_without_end_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"train\.jsonl:1: is not JSON"):
        read_source(write(tmp_path, "train.jsonl", "[" * 100_000))


def test_numbers_of_thousands_of_digits_are_refused(tmp_path):
    (tmp_path / "audio").mkdir()
    with pytest.raises(DatasetError, match=r"train\.tsv:2: a line must be"):
        read_source(write(tmp_path, "train.tsv", f"audio\na.wav\t{'9' * 5000}\n"))
    with pytest.raises(DatasetError, match=r"train\.jsonl:1: "):
        read_source(write(tmp_path, "train.jsonl", f'{{"audio": "a.wav", "duration": 1{"0" * 400}}}'))


def test_text_with_zero_bytes_is_none(tmp_path):
    with pytest.raises(DatasetError, match=r"train\.tsv:1: holds zero bytes"):
        read_source(write(tmp_path, "train.tsv", "a\0\n"))


def test_times_in_milliseconds_are_read_as_such(tmp_path):
    row = {"audio": "a.wav", "offset_ms": 600, "Duration_ms": "1500"}
    (item,) = read_source(jsonl(tmp_path, row)).items
    assert (item.offset_s, item.duration_s) == (pytest.approx(0.6), pytest.approx(1.5))


@pytest.mark.parametrize("key", ["start_sample", "start_frame", "end_samples", "offset_in_samples", "sample_start"])
def test_a_place_in_samples_is_refused_rather_than_the_whole_file_taken(tmp_path, key):
    with pytest.raises(DatasetError, match=rf"train\.jsonl:1: `{key}` counts samples or frames"):
        read_source(jsonl(tmp_path, {"audio": "a.wav", key: 9600, "num_samples": 9600}))


def test_a_time_of_more_than_a_year_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"train\.jsonl:1: `duration` is 1e\+308 seconds, more than a year"):
        read_source(jsonl(tmp_path, {"audio": "a.wav", "duration": 1e308}))
