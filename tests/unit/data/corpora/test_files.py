"""The one listing of audio: what is taken, and what is said of the rest."""

from __future__ import annotations

import os

import numpy as np
import pytest
import soundfile

from w2v2_ray.audio.reading import load_speech
from w2v2_ray.audio.suffixes import CONVERTIBLE_SUFFIXES
from w2v2_ray.data.corpora.files import list_audio
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.errors import DatasetError

FORMATS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".mp3": "MP3",
    ".oga": "OGG",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".au": "AU",
    ".snd": "AU",
    ".caf": "CAF",
    ".w64": "W64",
    ".rf64": "RF64",
    ".sph": "NIST",
    ".voc": "VOC",
}


def listed(folder):
    notes = ListingNotes()
    return [path.relative_to(folder).as_posix() for path in list_audio(folder, notes)], notes


@pytest.mark.parametrize("suffix", [*FORMATS, ".opus"])
def test_whatever_libsndfile_reads_is_listed_and_decoded(tmp_path, suffix):
    tone = 0.3 * np.sin(np.arange(16_000) / 20)
    path = tmp_path / f"a{suffix}"
    subtype = "OPUS" if suffix == ".opus" else None
    soundfile.write(path, tone, 16_000, format=FORMATS.get(suffix, "OGG"), subtype=subtype)
    path.rename(tmp_path / f"A{suffix.upper()}")
    assert listed(tmp_path)[0] == [f"A{suffix.upper()}"]
    assert abs(len(load_speech(tmp_path / f"A{suffix.upper()}")) - 16_000) <= 2400


@pytest.mark.parametrize("name", ["recording", "recording.dat", "recording.2024"])
def test_audio_under_another_suffix_is_known_by_its_first_bytes(tmp_path, name):
    soundfile.write(tmp_path / name, np.zeros(800, np.int16), 16_000, format="FLAC")
    (tmp_path / "other.dat").write_bytes(b"RIFF\x00\x00\x00\x00AVI no audio file")
    found, notes = listed(tmp_path)
    assert found == [name]
    assert notes.passed[Passed.OTHER_FILES] == {".dat": 1}


def test_files_that_must_be_converted_are_counted_with_the_remedy(tmp_path):
    for name in ("a.wav", "b.m4a", "c.M4A", "d.webm", "e.wma", "f.mp4", "g.aac", "h.amr", "i.pdf"):
        (tmp_path / name).touch()
    found, notes = listed(tmp_path)
    assert found == ["a.wav"]
    assert notes.passed[Passed.CONVERTIBLE] == {".m4a": 2, ".webm": 1, ".wma": 1, ".mp4": 1, ".aac": 1, ".amr": 1}
    line, others = notes.passed_lines()
    assert line.startswith("7 audio to convert (.m4a 2, ")
    assert "for f in *.m4a; do ffmpeg" in line
    assert ".pdf" in others


def test_a_folder_of_nothing_but_unreadable_formats_names_them(tmp_path):
    (tmp_path / "a.m4a").touch()
    with pytest.raises(DatasetError, match=r"no audio found(.|\n)*1 audio to convert \(\.m4a(.|\n)*ffmpeg"):
        listed(tmp_path)


def test_hidden_files_are_skipped_and_counted(tmp_path):
    (tmp_path / ".hid").mkdir()
    for name in ("talk.wav", "._talk.wav", ".secret.wav", ".hid/a.wav"):
        (tmp_path / name).touch()
    found, notes = listed(tmp_path)
    assert found == ["talk.wav"]
    assert notes.passed[Passed.HIDDEN] == {"._* of macOS": 1, "files": 1, "folders": 1}


def test_what_is_neither_file_nor_folder_is_counted_and_not_opened(tmp_path):
    (tmp_path / "a.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to(tmp_path / "pipe.wav")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    found, notes = listed(tmp_path)
    assert found == ["a.wav", "gone.wav"]  # ingest will reject it as missing
    assert sorted(notes.passed[Passed.NOT_FILES]) == ["link.wav", "loop", "pipe.wav"]


def test_folders_in_a_circle_are_read_once_and_named(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.wav").touch()
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    found, notes = listed(tmp_path)
    assert found == ["deep/a.wav"]
    assert list(notes.passed[Passed.CIRCLES]) == ["deep/up"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.wav").touch()
    scandir = os.scandir

    def refuse(path):  # root may read everything, so permissions cannot be tried for real
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, notes = listed(tmp_path)
    assert found == ["a.wav"]
    assert notes.passed_lines() == ["1 folders that cannot be read (closed). permission is missing: chmod -R u+rX"]
    monkeypatch.setattr(os, "scandir", lambda path: refuse("closed"))
    with pytest.raises(DatasetError, match=r"cannot be read \(Permission denied\)"):
        listed(tmp_path)


def test_a_dataset_within_the_source_is_not_read_again(tmp_path):
    for folder, name in (("made", "dataset.json"), ("half", ".ingest")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    (tmp_path / "a.wav").touch()
    found, notes = listed(tmp_path)
    assert found == ["a.wav"]
    assert sorted(notes.passed[Passed.DATASETS]) == ["half", "made"]


def test_no_suffix_is_both_readable_and_to_be_converted():
    assert not CONVERTIBLE_SUFFIXES & {*FORMATS, ".opus"}
