"""The length of a file is what is decoded; where its header says otherwise, it is right or rejected with both."""

from __future__ import annotations

import mmap
import re
import struct

import numpy as np
import pytest
import soundfile

from w2v2_ray.audio.containers import splice
from w2v2_ray.audio.containers.mpeg import frame_at, survey
from w2v2_ray.audio.reading import Excerpt, load_speech
from w2v2_ray.audio.speech_file import open_speech
from w2v2_ray.errors import AudioError

RATE_HZ = 16_000
MP3_PADDING = 4 * 1152  # frames that encoders add


def speech(seconds=2.0, rate_hz=RATE_HZ):
    """Quiet at first, so that a variable bit rate begins low."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(0).normal(0, 0.1, len(time))
    return np.where(time < seconds / 4, 1e-3, 1.0) * (0.3 * np.sin(2 * np.pi * 300 * time) + noise)


def encoded(path, seconds=2.0, rate_hz=RATE_HZ, **options):
    soundfile.write(path, speech(seconds, rate_hz), rate_hz, **options)
    return path.read_bytes()


def lengths(path):
    """Samples that ingest and transcription get."""
    with open_speech(path) as file:
        pieces = [file.read(start, 10_000) for start in range(0, file.num_samples, 10_000)]
    return len(load_speech(path)), sum(map(len, pieces))


def refusal(path):
    with pytest.raises(AudioError) as ingest:
        load_speech(path)
    with pytest.raises(AudioError) as heard, open_speech(path) as file:
        file.read(0, file.num_samples)
    assert heard.value.message.partition(":")[0] == ingest.value.message.partition(":")[0]
    return ingest.value.message


@pytest.fixture
def mp3(tmp_path):
    """A variable bit rate; (with the frame that says the length, without it)."""
    content = encoded(tmp_path / "whole.mp3", bitrate_mode="VARIABLE", compression_level=0.3)
    return content, content[frame_at(content[:4]).num_bytes :]


@pytest.mark.parametrize("junk", [b"", b"junk" * 1000, b"ID3\4\0\0\0\0\0\x0a" + bytes(10)])
def test_an_mp3_that_does_not_say_its_length_is_read_to_its_end(tmp_path, mp3, junk):
    path = tmp_path / "logger.mp3"
    path.write_bytes(junk + mp3[1])
    for length in lengths(path):
        assert 0 <= length - 2 * RATE_HZ <= MP3_PADDING


def test_joined_mp3s_are_read_to_the_end_of_the_last(tmp_path, mp3):
    path = tmp_path / "joined.mp3"
    for whole in (mp3[0] + mp3[0], mp3[1] + mp3[1], mp3[0] + b"TAG" + bytes(125) + mp3[0]):
        path.write_bytes(whole)
        for length in lengths(path):
            assert 0 <= length - 4 * RATE_HZ <= 2 * MP3_PADDING


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_an_mp3_that_says_less_than_it_has_is_read_to_its_end(tmp_path, mp3, factor):
    path = tmp_path / "less.mp3"
    path.write_bytes(promising(mp3[0], factor))
    for length in lengths(path):
        assert 0 <= length - 2 * RATE_HZ <= MP3_PADDING


def test_an_mp3_that_says_more_than_it_has_is_truncated(tmp_path, mp3):
    path = tmp_path / "more.mp3"
    path.write_bytes(promising(mp3[0], 2.0))
    assert refusal(path).startswith("truncated: the header says ")
    path.write_bytes(mp3[0][: len(mp3[0]) // 2])
    assert refusal(path).startswith("truncated: the header says ")


def test_an_mp3_with_damage_in_the_middle_is_refused(tmp_path, mp3):
    path, content = tmp_path / "damaged.mp3", mp3[1]
    middle = len(content) // 2
    path.write_bytes(content[:middle] + np.random.default_rng(0).bytes(4_000) + content[middle + 4_000 :])
    assert refusal(path).startswith("unreadable: ")


def test_mp3s_of_two_rates_in_one_file_are_refused(tmp_path, mp3):
    other = encoded(tmp_path / "other.mp3", rate_hz=44_100)
    path = tmp_path / "joined.mp3"
    path.write_bytes(mp3[0] + other)
    assert "16000 Hz with 1 channels and 44100 Hz with 1 channels" in refusal(path)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_mpeg_frames_are_counted_as_the_encoder_did(tmp_path, rate_hz, mode):
    content = encoded(tmp_path / "a.mp3", rate_hz=rate_hz, bitrate_mode=mode)
    found = survey(content, 0, len(content))
    assert found.frames == found.header_frames
    assert found.formats == {(rate_hz, 1)}
    assert len(load_speech(tmp_path / "a.mp3")) == 2 * RATE_HZ


def test_mp3_in_wav_is_read_to_its_end(tmp_path, mp3):
    form = struct.pack("<HHIIHHH", 0x55, 1, RATE_HZ, 8_000, 1, 0, 0)
    path = tmp_path / "a.wav"
    path.write_bytes(wav(form, mp3[1]))
    for length in lengths(path):
        assert 0 <= length - 2 * RATE_HZ <= MP3_PADDING


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F000])
def test_a_wav_whose_recorder_never_wrote_the_length_is_read_to_its_end(tmp_path, size):
    content = encoded(tmp_path / "a.wav")
    path = tmp_path / "b.wav"
    path.write_bytes(saying(content, size))
    np.testing.assert_array_equal(load_speech(path), load_speech(tmp_path / "a.wav"))
    assert lengths(path) == (2 * RATE_HZ, 2 * RATE_HZ)


def test_a_wav_that_says_less_than_it_has_is_refused_with_both_lengths(tmp_path):
    path = tmp_path / "a.wav"
    content = encoded(path)
    path.write_bytes(saying(content, RATE_HZ * 2))
    assert refusal(path).startswith(
        "wrong_header: the header says 1.000 s, the file has audio or other data for 2.000 s"
    )
    path.write_bytes(content + encoded(tmp_path / "b.wav", 3.0))
    assert refusal(path).startswith(
        "wrong_header: the header says 2.000 s, the file has audio or other data for 5.001 s"
    )


def test_a_wav_that_says_more_than_it_has_is_truncated(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(saying(encoded(path), 640_000))
    assert refusal(path) == "truncated: the header says 640000 bytes of audio, the file has 64000"


@pytest.mark.parametrize(
    "tail",
    [
        b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 13) + b"Lavf60.16.100\0",
        bytes(4096),
        b"TAG" + bytes(range(125)),
        b"ID3\4\0\0\0\0\0\x0a" + b"0123456789",
        b"iXML" + struct.pack("<I", 100_000) + b"<cut/>" * 100,
        b"\x01\x02\xff\x00" + bytes(range(40)),
    ],
)
def test_what_programs_put_behind_audio_is_no_audio(tmp_path, tail):
    path = tmp_path / "a.wav"
    content = encoded(path)
    expected = load_speech(path)
    path.write_bytes(content + tail)
    np.testing.assert_array_equal(load_speech(path), expected)


@pytest.mark.parametrize("chunk", [b"JUNK\5\0\0\0abcde\0", b"JUNK\5\0\0\0abcde"])
def test_chunks_of_odd_size_are_skipped_with_and_without_padding(tmp_path, chunk):
    path = tmp_path / "a.wav"
    content = encoded(path)
    expected = load_speech(path)
    path.write_bytes(content[:36] + chunk + content[36:])
    np.testing.assert_array_equal(load_speech(path), expected)


@pytest.mark.parametrize("kind", ["AIFF", "AU", "CAF", "W64", "RF64", "NIST"])
def test_other_files_of_chunks_are_held_to_what_they_say(tmp_path, kind):
    path = tmp_path / "a.audio"
    content = encoded(path, format=kind, subtype="PCM_16")
    assert lengths(path) == (2 * RATE_HZ, 2 * RATE_HZ)
    path.write_bytes(content[: len(content) * 2 // 3])
    assert refusal(path).startswith("truncated: the header says ")
    path.write_bytes(content + content)
    assert refusal(path).startswith("wrong_header: the header says 2.000 s, the file has ")


def test_a_caf_file_of_unknown_length_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.caf"
    content = encoded(path, format="CAF", subtype="PCM_16")
    place = content.index(b"data") + 4
    path.write_bytes(content[:place] + struct.pack(">q", -1) + content[place + 8 :])
    assert lengths(path) == (2 * RATE_HZ, 2 * RATE_HZ)


def test_an_aiff_whose_two_lengths_differ_is_refused(tmp_path):
    path = tmp_path / "a.aiff"
    content = encoded(path, subtype="PCM_16")
    place = content.index(b"COMM") + 10
    for frames, reason in ((RATE_HZ, "wrong_header"), (4 * RATE_HZ, "truncated")):
        path.write_bytes(content[:place] + struct.pack(">I", frames) + content[place + 4 :])
        assert refusal(path) == f"{reason}: the header says {frames / RATE_HZ:.3f} s, the file has 2.000 s"


def test_a_flac_that_says_another_length_is_refused_with_both(tmp_path):
    path = tmp_path / "a.flac"
    content = encoded(path)
    path.write_bytes(flac_saying(content, RATE_HZ))
    assert refusal(path) == "wrong_header: the header says 1.000 s, the file has 2.000 s"
    path.write_bytes(flac_saying(content, 4 * RATE_HZ))
    assert refusal(path) == "truncated: 4.000 s expected, 2.000 s decoded"
    path.write_bytes(content + content)
    assert "behind a FLAC file of 2.000 s another of 2.000 s is joined" in refusal(path)


def test_tags_around_a_flac_are_no_audio(tmp_path):
    path = tmp_path / "a.flac"
    content = encoded(path)
    expected = load_speech(path)
    path.write_bytes(b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + content + b"TAG" + bytes(125))
    np.testing.assert_array_equal(load_speech(path), expected)


@pytest.mark.parametrize(("rate_hz", "subtype"), [(16_000, "VORBIS"), (48_000, "OPUS")])
def test_joined_ogg_files_are_refused_with_both_lengths(tmp_path, rate_hz, subtype):
    path = tmp_path / "a.ogg"
    content = encoded(path, 3.0, rate_hz, subtype=subtype)
    assert lengths(path) == (3 * RATE_HZ, 3 * RATE_HZ)
    path.write_bytes(content + content)
    assert "joined in one file, the first of 3.00 s, together 6.00 s" in refusal(path)


@pytest.mark.parametrize(("rate_hz", "subtype"), [(16_000, "VORBIS"), (48_000, "OPUS")])
def test_an_ogg_file_that_lost_a_page_is_truncated(tmp_path, rate_hz, subtype):
    path = tmp_path / "a.ogg"
    content = encoded(path, 20.0, rate_hz, subtype=subtype)
    pages = [place for place in range(len(content)) if content.startswith(b"OggS", place)]
    middle = len(pages) // 2
    path.write_bytes(content[: pages[middle]] + content[pages[middle + 1] :])
    assert refusal(path).startswith("truncated: ")


CODECS = ["GSM610", "IMA_ADPCM", "MS_ADPCM", "ULAW", "ALAW", "G721_32", "NMS_ADPCM_32"]


@pytest.mark.parametrize("subtype", CODECS)
def test_telephone_codecs_are_heard_whole_in_pieces_and_from_an_offset(tmp_path, subtype):
    path = tmp_path / "a.wav"
    encoded(path, rate_hz=8_000, subtype=subtype)
    whole, heard = lengths(path)
    assert whole == heard
    assert 0 <= whole - 2 * RATE_HZ <= 800  # the last block is filled up
    part = load_speech(path, None, Excerpt(1.0, 0.5))
    assert len(part) == RATE_HZ // 2
    # The ends are resampled without what lies beside them.
    np.testing.assert_allclose(part[400:-400], load_speech(path)[RATE_HZ + 400 : RATE_HZ * 3 // 2 - 400], atol=2)


def test_parts_of_a_flac_are_those_of_the_whole(tmp_path):
    path = tmp_path / "a.flac"
    encoded(path, 20.0)
    whole = load_speech(path)
    for offset_s in (15.0, 0.0, 19.5, 3.25):
        start = round(offset_s * RATE_HZ)
        np.testing.assert_array_equal(load_speech(path, None, Excerpt(offset_s, 0.5)), whole[start : start + 8_000])


def test_a_file_that_changed_is_looked_at_again(tmp_path):
    path = tmp_path / "a.wav"
    content = encoded(path)
    path.write_bytes(content[:1000])
    assert refusal(path).startswith("truncated: ")
    path.write_bytes(content)
    assert lengths(path) == (2 * RATE_HZ, 2 * RATE_HZ)


@pytest.mark.parametrize("subtype", CODECS[:4])
def test_a_cut_telephone_recording_is_truncated(tmp_path, subtype):
    path = tmp_path / "a.wav"
    content = encoded(path, rate_hz=8_000, subtype=subtype)
    path.write_bytes(content[: len(content) * 2 // 3])
    assert refusal(path).startswith("truncated: the header says ")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\0\0\0\x20ftypM4A ", "ffmpeg -i a.wav"),
        (b"\x1a\x45\xdf\xa3", "WebM"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"<!doctype html>", "HTML page"),
    ],
)
def test_what_is_no_audio_for_us_is_called_by_its_name(tmp_path, head, words):
    path = tmp_path / "a.wav"
    path.write_bytes(head + bytes(2000))
    assert words in refusal(path)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "seconds"), [("mp3-vbr-no-xing/vbr_noxing.mp3", 2.0), ("wav-gsm610/gsm.wav", 2.0)])
def test_files_that_users_met_are_whole(shared_dir, name, seconds):
    for length in lengths(shared_dir / "cases" / name):
        assert abs(length / RATE_HZ - seconds) < 0.06


def promising(content, factor):
    """An MP3 file whose first frame tells another number of frames."""
    place = max(content.find(b"Xing"), content.find(b"Info")) + 8
    (frames,) = struct.unpack(">I", content[place : place + 4])
    return content[:place] + struct.pack(">I", int(frames * factor)) + content[place + 4 :]


def saying(content, size):
    """A WAV file that tells another number of bytes."""
    place = content.index(b"data") + 4
    return content[:place] + struct.pack("<I", size) + content[place + 4 :]


def flac_saying(content, frames):
    return content[:21] + bytes([content[21] & 0xF0]) + struct.pack(">I", frames) + content[26:]


def wav(form, samples):
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("lost", [2, 3, 4])
def test_an_ogg_file_without_a_page_in_the_middle_is_refused(tmp_path, lost):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.ogg"
    soundfile.write(path, 0.1 * rng.normal(size=30 * 16_000), 16_000)
    content = path.read_bytes()
    pages = [match.start() for match in re.finditer(b"OggS", content)]
    assert len(pages) > lost + 2
    path.write_bytes(content[: pages[lost]] + content[pages[lost + 1] :])
    with pytest.raises(AudioError, match=r"truncated: 1 pages of a recording of 30.00 s are missing"):
        load_speech(path)


@pytest.mark.parametrize("place", [0, 3, 4091, 4096, 4100, 9_995])
def test_what_is_looked_for_is_found_across_windows(tmp_path, monkeypatch, place):
    monkeypatch.setattr(splice, "_WINDOW_BYTES", 4096)
    path = tmp_path / "bytes"
    path.write_bytes(b"\0" * place + b"needle" + b"\0" * (10_000 - place))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert splice.find_through(content, b"needle", 0) == place
        assert splice.find_through(content, b"needle", place + 1) == -1
    assert splice.find_through(path.read_bytes(), b"needle", 0) == place
