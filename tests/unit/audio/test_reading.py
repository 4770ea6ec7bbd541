from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile

from w2v2_ray.audio.reading import DurationLimits, Excerpt, load_speech
from w2v2_ray.audio.rejection import RejectReason
from w2v2_ray.errors import AudioError

LIMITS = DurationLimits(min_s=0.1, max_s=2.0)


def reason_of(path, excerpt=None) -> str:
    with pytest.raises(AudioError) as caught:
        load_speech(path, LIMITS, excerpt or Excerpt())
    return caught.value.message.partition(":")[0]


def cut(path, keep: float):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_16_bit_mono_at_16_khz_is_kept_bit_by_bit(write_audio, name):
    path = write_audio(name)
    expected, _ = soundfile.read(path, dtype="int16")
    loaded = load_speech(path, LIMITS)
    assert loaded.dtype == np.int16
    np.testing.assert_array_equal(loaded, expected)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_every_format_is_mixed_down_and_resampled(write_audio, name):
    loaded = load_speech(write_audio(name, 1.0, rate=32000, channels=2), LIMITS)
    assert abs(len(loaded) - 16000) <= 600  # lossy codecs pad
    assert np.abs(loaded).max() > 500


def test_down_mixing_takes_the_mean_of_the_channels(tmp_path):
    stereo = np.stack([np.full(8000, 1000), np.full(8000, 3000)], axis=1).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", stereo, 16000)
    np.testing.assert_array_equal(load_speech(tmp_path / "a.wav"), 2000)


def test_float_audio_beyond_full_scale_is_clipped_not_wrapped(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(8000, 1.5, np.float32), 16000, subtype="FLOAT")
    np.testing.assert_array_equal(load_speech(tmp_path / "a.wav"), 32767)


def test_a_file_that_is_not_there_is_missing(tmp_path):
    assert reason_of(tmp_path / "none.wav") == RejectReason.MISSING


def test_a_file_of_no_bytes_is_empty(tmp_path):
    (tmp_path / "a.wav").touch()
    assert reason_of(tmp_path / "a.wav") == RejectReason.EMPTY


def test_a_file_of_no_samples_is_empty(write_audio):
    assert reason_of(write_audio("a.wav", 0.0)) == RejectReason.EMPTY


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_text_named_like_audio_has_the_wrong_header(tmp_path, name):
    (tmp_path / name).write_text("this is no audio\n" * 200)
    assert reason_of(tmp_path / name) == RejectReason.WRONG_HEADER


@pytest.mark.parametrize("rate", [0, 1, 2_000_000_000])
def test_a_header_with_an_absurd_rate_is_wrong(write_audio, rate):
    path = write_audio("a.wav")
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    assert reason_of(path) == RejectReason.WRONG_HEADER


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_file_that_was_cut_is_truncated(write_audio, name, keep):
    assert reason_of(cut(write_audio(name, 1.9), keep)) == RejectReason.TRUNCATED


def test_a_wav_cut_within_its_header_is_refused(write_audio):
    path = write_audio("a.wav")
    path.write_bytes(path.read_bytes()[:40])
    assert reason_of(path) in (RejectReason.TRUNCATED, RejectReason.WRONG_HEADER)


def test_a_wav_written_to_a_pipe_has_no_length_and_is_kept(write_audio):
    path = write_audio("a.wav")
    content = bytearray(path.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(load_speech(path, LIMITS)) == 8000


def test_a_file_shorter_than_its_manifest_says_is_truncated(write_audio):
    path = write_audio("a.wav", 1.0)
    assert reason_of(path, Excerpt(frames=32000)) == RejectReason.TRUNCATED
    assert reason_of(path, Excerpt(duration_s=2.0)) == RejectReason.TRUNCATED
    assert len(load_speech(path, LIMITS, Excerpt(duration_s=1.01))) == 16000


def message_of(path, excerpt):
    with pytest.raises(AudioError) as caught:
        load_speech(path, LIMITS, excerpt)
    return caught.value.message


def test_a_file_longer_than_its_duration_is_read_from_its_start(write_audio):
    path = write_audio("a.wav", 2.0)
    whole = load_speech(path)
    np.testing.assert_array_equal(load_speech(path, LIMITS, Excerpt(duration_s=0.5)), whole[:8000])
    np.testing.assert_array_equal(load_speech(path, LIMITS, Excerpt(duration_s=1.95)), whole)  # rounding


def test_a_file_with_more_samples_than_listed_is_another_one(write_audio):
    path = write_audio("a.wav", 2.0)
    assert message_of(path, Excerpt(frames=16000)) == (
        "not_as_listed: the manifest promises 16000 samples, the file has 32000 at 16000 Hz; list the files anew"
    )
    assert len(load_speech(path, LIMITS, Excerpt(frames=31000))) == 32000


def test_a_part_beyond_the_end_is_refused_with_both_numbers(write_audio):
    path = write_audio("a.wav", 2.0)
    assert message_of(path, Excerpt(offset_s=30.0)) == (
        "truncated: the manifest's part begins at 30.00 s, the file has 2.00 s"
    )
    assert message_of(path, Excerpt(1.0, 1e12)).endswith("s, the file has 2.00 s")


def test_a_late_part_may_not_be_cut_because_the_file_is_long(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000 * 100, np.int16), 16000)
    assert message_of(tmp_path / "a.wav", Excerpt(99.0, 2.0)) == (
        "truncated: the manifest promises 101.00 s, the file has 100.00 s"
    )


def test_a_file_that_must_be_converted_says_how(tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"\x00\x00\x00\x20ftypM4A " + bytes(200))
    assert message_of(tmp_path / "a.m4a", Excerpt()).endswith('convert it: ffmpeg -i "a.m4a" -ac 1 -ar 16000 "a.flac"')


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_not_finite(tmp_path, value):
    samples = np.zeros(8000, np.float32)
    samples[4000] = value
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    assert reason_of(tmp_path / "a.wav") == RejectReason.NOT_FINITE


def test_lengths_outside_the_limits_are_too_short_or_too_long(write_audio):
    assert reason_of(write_audio("short.wav", 0.05)) == RejectReason.TOO_SHORT
    assert reason_of(write_audio("long.wav", 2.1)) == RejectReason.TOO_LONG
    assert len(load_speech(write_audio("just.wav", 2.0), LIMITS)) == 32000


def test_damage_in_the_middle_of_a_flac_is_unreadable_not_truncated(write_audio):
    path = write_audio("a.flac", 1.5)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    assert reason_of(path) == RejectReason.UNREADABLE


def test_a_folder_named_like_audio_is_unreadable(tmp_path):
    (tmp_path / "a.wav").mkdir()
    assert reason_of(tmp_path / "a.wav") == RejectReason.UNREADABLE


def test_an_excerpt_is_cut_out_at_its_offset(write_audio):
    path = write_audio("a.wav", 2.0)
    whole = load_speech(path)
    np.testing.assert_array_equal(load_speech(path, LIMITS, Excerpt(0.5, 0.25)), whole[8000:12000])
    np.testing.assert_array_equal(load_speech(path, LIMITS, Excerpt(1.5, None)), whole[24000:])
    assert reason_of(path, Excerpt(2.5, 0.5)) == RejectReason.TRUNCATED
    assert reason_of(path, Excerpt(1.5, 1.0)) == RejectReason.TRUNCATED
