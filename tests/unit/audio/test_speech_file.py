"""Audio files read piece by piece: the pieces are the whole."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from w2v2_ray.audio.reading import load_speech
from w2v2_ray.audio.speech_file import open_speech
from w2v2_ray.errors import AudioError


def write(path, rate_hz, seconds, channels=1, **options):
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    tone = 0.3 * np.sin(2 * np.pi * 300 * time) + 0.1 * np.sin(2 * np.pi * (200 + 40 * time) * time)
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate_hz, **options)


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"),
    [("a.wav", 16_000, 1), ("a.flac", 16_000, 2), ("a.wav", 8_000, 2), ("a.wav", 44_100, 1), ("a.ogg", 48_000, 1)],
)
def test_pieces_are_the_whole(tmp_path, name, rate_hz, channels):
    path = tmp_path / name
    write(path, rate_hz, 7.3, channels)
    whole = load_speech(path)
    with open_speech(path) as file:
        assert file.num_samples == len(whole)
        for start, count in ((0, 16_000), (15_999, 20_003), (40_320, 32_000), (len(whole) - 5_000, 5_000)):
            piece = file.read(start, count)
            assert len(piece) == count
            assert np.abs(piece.astype(int) - whole[start : start + count]).max() <= 1


def test_an_mp3_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.mp3"
    write(path, 16_000, 5.0)
    whole = load_speech(path)
    with open_speech(path) as file:
        pieces = [file.read(start, 32_000) for start in range(0, file.num_samples, 32_000)]
    assert abs(sum(map(len, pieces)) - len(whole)) <= 2 * 1152
    assert np.corrcoef(pieces[0], whole[:32_000])[0, 1] > 0.99


def test_an_empty_file_is_refused_by_name_of_the_reason(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(AudioError, match="empty: the file has 0 bytes"), open_speech(path):
        pass


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"),
    [("a.wav", 8_000, 2), ("a.flac", 44_100, 1), ("a.wav", 16_000, 1), ("a.ogg", 22_050, 1), ("a.mp3", 44_100, 2)],
)
def test_overlapping_pieces_in_order_are_the_whole(tmp_path, name, rate_hz, channels):
    path = tmp_path / name
    write(path, rate_hz, 9.1, channels)
    whole = load_speech(path)
    with open_speech(path) as file:
        for start in range(0, file.num_samples, 24_000):
            piece = file.read(start, min(32_000, file.num_samples - start))
            expected = whole[start : start + 32_000]
            assert len(piece) == len(expected)
            assert np.abs(piece.astype(int) - expected).max() <= 1


def test_what_is_read_again_is_the_same(tmp_path):
    path = tmp_path / "a.wav"
    write(path, 8_000, 4.0)
    with open_speech(path) as file:
        whole = file.read(0, file.num_samples)
        np.testing.assert_array_equal(file.read(16_000, 8_000), whole[16_000:24_000])
        np.testing.assert_array_equal(file.read(0, 8_000), whole[:8_000])


def test_only_the_last_piece_is_kept(tmp_path):
    path = tmp_path / "a.wav"
    write(path, 8_000, 120.0)
    with open_speech(path) as file:
        for start in range(0, file.num_samples, 32_000):
            file.read(start, 48_000)
            assert file._kept is not None
            assert len(file._kept) <= (3 + 2 + 1) * 8_000


@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_damage_in_a_later_piece_is_found_there(tmp_path, damage):
    path = tmp_path / "a.flac"
    write(path, 16_000, 20.0)
    content = path.read_bytes()
    middle = len(content) // 2
    rest = b"" if damage == "cut" else bytes(3_000) + content[middle + 3_000 :]
    path.write_bytes(content[:middle] + rest)
    with open_speech(path) as file:
        file.read(0, 32_000)
        with pytest.raises(AudioError, match="truncated" if damage == "cut" else "unreadable"):
            [file.read(start, 32_000) for start in range(24_000, file.num_samples, 24_000)]


def test_a_flac_that_does_not_say_its_length_is_read_to_its_end(tmp_path):
    path = tmp_path / "piped.flac"
    write(path, 16_000, 1.0)
    whole = load_speech(path)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of the stream's length; 0 means unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(load_speech(path), whole)
    with open_speech(path) as file:
        np.testing.assert_array_equal(file.read(0, file.num_samples), whole)


def test_audio_missing_from_the_middle_of_an_ogg_is_noticed(tmp_path):
    path = tmp_path / "a.ogg"
    write(path, 16_000, 60.0)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3_000] = np.random.default_rng(0).bytes(3_000)
    path.write_bytes(content)
    with pytest.raises(AudioError, match="truncated"), open_speech(path) as file:
        [file.read(start, 32_000) for start in range(0, file.num_samples, 24_000)]
