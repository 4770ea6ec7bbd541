from __future__ import annotations

import numpy as np
import pytest
import soundfile

from w2v2_ray.data import resampling
from w2v2_ray.data.audio import load_speech
from w2v2_ray.data.resampling import resample
from w2v2_ray.data.speech_file import open_speech


def tone(rate_hz, seconds=3.0):
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [7_999, 8_000, 11_025, 15_937, 22_254, 22_255, 44_100, 47_952, 96_001, 192_000])
def test_a_tone_keeps_its_length_and_pitch_at_any_rate(rate_hz):
    result = resample(tone(rate_hz), rate_hz, 16_000)
    assert len(result) == -(-len(tone(rate_hz)) * 16_000 // rate_hz)
    middle = slice(1_000, len(result) - 1_000)
    np.testing.assert_allclose(result[middle], tone(16_000)[middle], atol=2e-3)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_odd_rates_are_filtered_as_common_ones_are(rate_hz, monkeypatch):
    noise = np.random.default_rng(0).normal(0, 0.2, rate_hz).astype(np.float32)
    expected = resample(noise, rate_hz, 16_000)
    monkeypatch.setattr(resampling, "_MAX_KERNEL", 0)
    np.testing.assert_allclose(resample(noise, rate_hz, 16_000), expected, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [15_937, 22_254])
def test_pieces_at_odd_rates_are_the_whole(tmp_path, rate_hz):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(rate_hz, 7.3), rate_hz)
    whole = load_speech(path)
    with open_speech(path) as file:
        assert file.num_samples == len(whole)
        for start in range(0, file.num_samples, 24_000):
            piece = file.read(start, min(32_000, file.num_samples - start))
            np.testing.assert_allclose(piece, whole[start : start + 32_000], atol=1)
