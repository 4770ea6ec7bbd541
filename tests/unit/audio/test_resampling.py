from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from w2v2_ray.audio.reading import load_speech
from w2v2_ray.audio.resampling import resample
from w2v2_ray.audio.speech_file import open_speech
from w2v2_ray.audio.torchaudio_compat import import_torchaudio


def tone(rate_hz, seconds=3.0):
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [7_999, 8_000, 11_025, 15_937, 22_254, 22_255, 44_100, 47_952, 96_001, 192_000])
def test_a_tone_keeps_its_length_and_pitch_at_any_rate(rate_hz):
    result = resample(tone(rate_hz), rate_hz, 16_000)
    assert len(result) == -(-len(tone(rate_hz)) * 16_000 // rate_hz)
    middle = slice(1_000, len(result) - 1_000)
    np.testing.assert_allclose(result[middle], tone(16_000)[middle], atol=2e-3)


@pytest.mark.parametrize("from_hz", [9, 11, 8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("length", [1, 2, 17, 441, 5_000, 70_001])
def test_every_sample_is_that_of_torchaudio_in_double_precision(from_hz, length):
    to_hz = 10 if from_hz < 100 else 16_000
    noise = np.random.default_rng(length).normal(0, 0.2, length).astype(np.float32)
    functional = import_torchaudio().functional
    expected = functional.resample(torch.from_numpy(noise).double(), from_hz, to_hz).float().numpy()
    found = resample(noise, from_hz, to_hz)
    assert found.shape == expected.shape
    # Both add in double precision, in orders of their own: a rounding to single precision may fall otherwise.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("from_hz", "step", "places"), [(22_050, 441, 320), (44_100, 441, 160), (11_025, 441, 640)])
def test_lengths_are_those_of_torchaudio_where_its_rounding_leaves_the_last_out(from_hz, step, places):
    functional = import_torchaudio().functional
    shorter = 0
    first = 81_000 * step // places  # so many outputs that single precision has no more than 128 steps between two
    for length in (n for n in range(first, first + 1_800) if n * places % step in (0, 1, 2, step - 1)):
        expected = functional.resample(torch.zeros(length, dtype=torch.float64), from_hz, 16_000).shape[-1]
        found = len(resample(np.zeros(length, np.float32), from_hz, 16_000))
        assert found == expected, length
        shorter += found < -(-length * places // step)
    assert shorter


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
