from __future__ import annotations

import json

import pytest

from w2v2_ray.data.ingestion.sources import guess_format, list_items
from w2v2_ray.errors import DatasetError


def librispeech(root):
    chapter = root / "dev-clean" / "84" / "121123"
    chapter.mkdir(parents=True)
    (chapter / "84-121123.trans.txt").write_text("84-121123-0001 SECOND LINE\n84-121123-0000 GO DO YOU HEAR\n")
    for number in range(2):
        (chapter / f"84-121123-000{number}.flac").touch()
    return root


def tsv(root, lines, letters=None):
    (root / "wavs").mkdir()
    (root / "train.tsv").write_text("\n".join(["wavs", *lines]) + "\n")
    if letters is not None:
        (root / "train.ltr").write_text("\n".join(letters) + "\n")
    return root / "train.tsv"


def jsonl(root, *entries):
    path = root / "train.jsonl"
    path.write_text("\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries) + "\n")
    return path


def test_the_format_is_guessed_from_suffix_or_files(tmp_path):
    (tmp_path / "plain").mkdir()
    assert guess_format(librispeech(tmp_path / "libri")) == "librispeech"
    assert guess_format(tmp_path / "plain") == "folder"
    assert guess_format(tsv(tmp_path, [])) == "manifest"
    assert guess_format(jsonl(tmp_path, {})) == "jsonl"


def test_a_file_of_unknown_suffix_is_not_guessed(tmp_path):
    (tmp_path / "list.csv").touch()
    with pytest.raises(DatasetError, match=r"list\.csv: cannot guess.*--format"):
        guess_format(tmp_path / "list.csv")


@pytest.mark.parametrize("source_format", ["librispeech", "manifest", "jsonl", "folder"])
def test_a_source_that_is_not_there_is_named(tmp_path, source_format):
    with pytest.raises(DatasetError, match="nowhere: there is no such"):
        list_items(tmp_path / "nowhere", source_format)


def test_a_folder_given_for_a_manifest_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="--format manifest reads a file"):
        list_items(tmp_path, "manifest")


def test_a_folder_without_audio_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no audio found"):
        list_items(tmp_path, "folder")


def test_librispeech_gives_ids_transcripts_and_speakers_in_order(tmp_path):
    items = list_items(librispeech(tmp_path), "librispeech")
    assert [(item.id, item.transcript, item.speaker) for item in items] == [
        ("84-121123-0000", "GO DO YOU HEAR", "84"),
        ("84-121123-0001", "SECOND LINE", "84"),
    ]
    assert items[0].source == "dev-clean/84/121123/84-121123-0000.flac"


def test_librispeech_keeps_audio_without_a_line_and_lines_without_audio(tmp_path):
    chapter = librispeech(tmp_path) / "dev-clean" / "84" / "121123"
    (chapter / "84-121123-0002.flac").touch()
    (chapter / "84-121123-0001.flac").unlink()
    items = list_items(tmp_path, "librispeech")
    assert [item.id[-1] for item in items] == ["0", "1", "2"]
    assert items[2].transcript is None


def test_a_manifest_counts_its_root_from_its_own_folder(tmp_path):
    items = list_items(
        tsv(tmp_path, ["ann/one.wav\t16000", "bob/two.wav\t8000"], ["Y E S |", "G O | O N |"]), "manifest"
    )
    assert [item.path for item in items] == [str(tmp_path / "wavs" / n) for n in ("ann/one.wav", "bob/two.wav")]
    assert [(i.id, i.transcript, i.speaker, i.frames) for i in items] == [
        ("ann/one", "YES", "ann", 16000),
        ("bob/two", "GO ON", "bob", 8000),
    ]


def test_a_manifest_without_letters_has_no_transcripts(tmp_path):
    assert list_items(tsv(tmp_path, ["one.wav\t16000"]), "manifest")[0].transcript is None


@pytest.mark.parametrize("line", ["one.wav", "one.wav\tmany", "\t16000", "one.wav 16000", "one.wav\t-5"])
def test_a_malformed_manifest_line_is_named_with_its_number(tmp_path, line):
    with pytest.raises(DatasetError, match=r"train\.tsv:3: a line must be"):
        list_items(tsv(tmp_path, ["good.wav\t16000", line, "good2.wav\t16000"]), "manifest")


def test_a_manifest_whose_root_is_not_there_is_refused(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("nowhere\none.wav\t16000\n")
    with pytest.raises(DatasetError, match=r"a\.tsv:1: there is no folder"):
        list_items(path, "manifest")


def test_letters_that_do_not_match_the_manifest_are_refused(tmp_path):
    path = tsv(tmp_path, ["one.wav\t16000", "two.wav\t16000"], ["Y E S |"])
    with pytest.raises(DatasetError, match=r"train\.ltr: has 1 transcripts for the 2 files"):
        list_items(path, "manifest")


def test_jsonl_reads_text_duration_offset_and_speaker(tmp_path):
    path = jsonl(
        tmp_path,
        {"audio_filepath": "wav/a.wav", "text": "yes", "duration": 1.5},
        {"audio_filepath": "ann/b.wav", "text": "no", "duration": 1.5, "offset": 2},
        {"audio_filepath": str(tmp_path / "ann" / "b.wav"), "duration": 1, "offset": 3.5, "speaker": 7},
    )
    items = list_items(path, "jsonl")
    assert [(i.id, i.transcript, i.speaker, i.offset_s, i.duration_s) for i in items] == [
        ("wav/a", "yes", None, None, 1.5),
        ("ann/b@2000ms", "no", "ann", 2.0, 1.5),
        ("ann/b@3500ms", None, "7", 3.5, 1.0),
    ]
    assert items[1].path == str(tmp_path / "ann" / "b.wav")


@pytest.mark.parametrize(
    "entry",
    [
        "{not json",
        "[1]",
        {"text": "no path"},
        {"audio_filepath": 5},
        {"audio_filepath": "a.wav", "duration": -1},
        {"audio_filepath": "a.wav", "offset": "soon"},
        '{"audio_filepath": "a.wav", "duration": NaN}',
        {"audio_filepath": "a.wav", "text": 5},
    ],
)
def test_a_malformed_jsonl_line_is_named_with_its_number(tmp_path, entry):
    with pytest.raises(DatasetError, match=r"train\.jsonl:2: "):
        list_items(jsonl(tmp_path, {"audio_filepath": "a.wav"}, entry), "jsonl")


def test_a_manifest_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(DatasetError, match="is not UTF-8 text"):
        list_items(path, "jsonl")


def test_a_folder_is_read_at_any_depth_with_the_transcripts_beside(tmp_path):
    for name in ("b/deep/er/x.OGG", "a/y.mp3", "z.wav", "a/notes.md", ".hidden/h.wav", "a/.h.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "y.txt").write_text(" hello \n world\n")
    items = list_items(tmp_path, "folder")
    assert [(i.id, i.transcript, i.speaker) for i in items] == [
        ("z", None, None),
        ("a/y", "hello world", "a"),
        ("b/deep/er/x", None, "er"),
    ]


def test_a_transcript_file_that_is_not_text_is_a_problem_of_its_item_only(tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_bytes(b"\xff\xff")
    items = list_items(tmp_path, "folder")
    assert items[0].problem is not None
    assert items[0].problem.startswith("bad_transcript: a.txt")
    assert items[1].problem is None


def test_ids_are_unique_even_when_files_differ_by_suffix_only(tmp_path):
    for name in ("a.flac", "a.wav", "a~2.wav"):
        (tmp_path / name).touch()
    ids = [item.id for item in list_items(tmp_path, "folder")]
    assert ids[0] == "a"
    assert len(set(ids)) == 3


def test_linked_folders_are_followed_without_going_round(tmp_path):
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "a.wav").touch()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link").symlink_to(tmp_path / "speech")
    (tmp_path / "speech" / "back").symlink_to(tmp_path / "source")
    assert [item.id for item in list_items(tmp_path / "source", "folder")] == ["link/a"]


@pytest.mark.parametrize(
    ("line", "transcript"),
    [
        ("H E L L O | Y O U |", "HELLO YOU"),
        ("sh iy h# | k ae t |", "sh iy h# k ae t"),
        ("SHE HAD YOUR", "SHE HAD YOUR"),
        ("e\u0301 t e\u0301 |", "e\u0301te\u0301"),
        ("A <unk> B |", "A<unk>B"),
    ],
)
def test_letters_are_put_together_and_phones_and_words_stay_apart(tmp_path, line, transcript):
    from w2v2_ray.data.ingestion.sources import _letters

    (tmp_path / "a.ltr").write_text(line + "\n")
    assert _letters(tmp_path / "a.ltr", 1) == [transcript]
