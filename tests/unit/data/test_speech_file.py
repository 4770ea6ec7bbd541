"""Audio files read piece by piece: the pieces are the whole."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from w2v2_ray.data.audio import load_speech, open_speech
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
