"""Signals that cannot be speech are left out, odd ones are noted, and channels do not cancel each other."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from w2v2_ray.audio.reading import DurationLimits, judge_speech, load_speech
from w2v2_ray.audio.rejection import RejectReason
from w2v2_ray.audio.signal import SignalLimits, SignalNote
from w2v2_ray.audio.speech_file import open_speech
from w2v2_ray.errors import AudioError

RATE_HZ = 16_000
LIMITS = SignalLimits()


def speech(seconds=2.0, peak=0.5, seed=0):
    """A voice of some harmonics in syllables, with breath; few samples are near the peak."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    rng = np.random.default_rng(seed)
    voice = sum(np.cos(2 * np.pi * 117 * k * time + rng.uniform(0, 6)) / k for k in range(1, 25))
    wave = (voice + rng.normal(0, 0.3, len(time))) * (0.02 + np.sin(2 * np.pi * 1.7 * time) ** 4)
    return (peak * wave / np.abs(wave).max()).astype(np.float32)


def judged(path, wave, limits=LIMITS, rate_hz=RATE_HZ, **options):
    soundfile.write(path, wave, rate_hz, **options)
    return judge_speech(path, signal=limits)


def refused(path, wave, limits=LIMITS, **options):
    with pytest.raises(AudioError) as caught:
        judged(path, wave, limits, **options)
    return caught.value.message


@pytest.mark.parametrize("peak", [0.9, 0.1, 0.003])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_speech_loud_and_quiet_is_kept_without_a_word(tmp_path, peak, name):
    assert judged(tmp_path / name, speech(peak=peak)).notes == ()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 96_000, 192_000])
def test_no_encoding_and_no_rate_makes_good_speech_odd(tmp_path, subtype, rate_hz):
    assert judged(tmp_path / "a.wav", speech(), rate_hz=rate_hz, subtype=subtype).notes == ()


def test_floats_on_the_scale_of_integers_are_out_of_range(tmp_path):
    path = tmp_path / "a.wav"
    message = refused(path, speech(peak=7_000), subtype="FLOAT")
    assert message.startswith("out_of_range: the largest sample is 7000 where full scale is 1, the limit is 2")
    assert "--max-peak" in message
    with open_speech(path) as file, pytest.raises(AudioError, match="out_of_range"):
        file.read(0, 1000)


def test_a_few_samples_beyond_full_scale_are_clipped_and_noted(tmp_path):
    wave = speech()
    wave[[100, 5_000, 9_000]] = 1.5, -1.2, 1.01
    kept = judged(tmp_path / "a.wav", wave, subtype="FLOAT")
    assert kept.notes == (SignalNote.CLIPPED,)
    assert kept.samples[100] == 32767
    assert kept.samples[5_000] == -32768


@pytest.mark.parametrize("gain", [10, 1_000])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "ULAW", "ALAW", "FLOAT"])
def test_speech_clipped_square_is_saturated(tmp_path, gain, subtype):
    wave = np.clip(speech(peak=1.0) * gain, -1, 1)
    assert refused(tmp_path / "a.wav", wave, subtype=subtype).startswith("saturated: ")
    assert refused(tmp_path / "b.wav", 0.4 * wave, subtype=subtype).startswith("saturated: ")


def test_floats_all_beyond_full_scale_are_saturated(tmp_path):
    wave = 1.5 * np.sign(speech())
    assert refused(tmp_path / "a.wav", wave, subtype="FLOAT").startswith("saturated: ")


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg"])
def test_saturated_speech_is_known_behind_a_lossy_codec(tmp_path, name):
    assert refused(tmp_path / name, np.clip(speech(peak=1.0) * 100, -1, 1)).startswith("saturated: ")


@pytest.mark.parametrize("hertz", [50, 440, 1_000, 2_000, 4_000])
@pytest.mark.parametrize("peak", [1.0, 0.5])
def test_a_tone_is_not_saturated(tmp_path, hertz, peak):
    tone = peak * np.sin(2 * np.pi * hertz * np.arange(2 * RATE_HZ) / RATE_HZ)
    judged(tmp_path / "a.wav", tone)


def test_speech_with_some_clipped_samples_is_kept_and_noted(tmp_path):
    kept = judged(tmp_path / "a.wav", np.clip(speech(peak=1.0) * 2, -1, 1))
    assert kept.notes == (SignalNote.CLIPPED,)


@pytest.mark.parametrize("offset", [0.0, 0.3, -0.9])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
def test_digital_silence_is_silent_wherever_its_zero_lies(tmp_path, offset, subtype):
    message = refused(tmp_path / "a.wav", np.full(RATE_HZ, offset), subtype=subtype)
    assert message.startswith("silent: its level is ")
    assert "--min-level-dbfs" in message


@pytest.mark.parametrize("level_dbfs", [-90, -80])
@pytest.mark.parametrize("channels", [1, 2])
def test_noise_that_nobody_hears_is_silent(tmp_path, level_dbfs, channels):
    noise = np.random.default_rng(0).normal(0, 10 ** (level_dbfs / 20), (RATE_HZ, channels))
    assert refused(tmp_path / "a.wav", noise, subtype="PCM_24").startswith("silent: ")


def test_a_word_in_a_minute_of_silence_is_kept(tmp_path):
    wave = np.zeros(60 * RATE_HZ, np.float32)
    wave[RATE_HZ : 3 * RATE_HZ // 2] = speech(0.5, peak=0.1)
    assert judged(tmp_path / "a.wav", wave).notes == ()


def test_an_offset_is_noted(tmp_path):
    assert judged(tmp_path / "a.wav", speech(peak=0.3) + 0.2).notes == (SignalNote.OFFSET,)


@pytest.mark.parametrize("gain", [-1.0, -0.7])
def test_channels_of_opposite_phase_do_not_cancel(tmp_path, gain):
    wave, path = speech(), tmp_path / "a.wav"
    kept = judged(path, np.stack([gain * wave, wave], axis=1), subtype="FLOAT")
    assert kept.notes == (SignalNote.ONE_CHANNEL,)
    expected = np.rint((-wave if gain == -1.0 else wave) * 32768).astype(np.int16)
    np.testing.assert_array_equal(kept.samples, expected)
    with open_speech(path) as file:
        np.testing.assert_array_equal(file.read(5_000, 9_000), expected[5_000:14_000])


def test_one_voice_among_many_silent_channels_is_taken_alone(tmp_path):
    frames = np.zeros((2 * RATE_HZ, 16), np.float32)
    frames[:, 11] = speech()
    kept = judged(tmp_path / "a.wav", frames, subtype="FLOAT")
    assert kept.notes == (SignalNote.ONE_CHANNEL,)
    np.testing.assert_array_equal(kept.samples, np.rint(frames[:, 11] * 32768).astype(np.int16))


def test_a_transcriber_mixes_by_the_first_minute_in_which_something_is_heard(tmp_path):
    wave = np.concatenate([np.zeros(61 * RATE_HZ, np.float32), speech()])
    soundfile.write(tmp_path / "a.flac", np.stack([wave, -wave], axis=1), RATE_HZ)
    with open_speech(tmp_path / "a.flac") as file:
        heard = np.concatenate([file.read(start, 48_000) for start in range(0, file.num_samples, 48_000)])
    np.testing.assert_array_equal(heard, load_speech(tmp_path / "a.flac"))
    assert np.abs(heard).max() > 10_000


@pytest.mark.parametrize("other", ["silent", "independent", "same"])
def test_other_channels_are_mixed_to_their_mean(tmp_path, other):
    wave = speech()
    second = {"silent": 0 * wave, "independent": speech(seed=1), "same": wave}[other]
    kept = judged(tmp_path / "a.wav", np.stack([wave, second], axis=1), subtype="FLOAT")
    assert kept.notes == ()
    np.testing.assert_array_equal(kept.samples, np.rint((wave + second) / 2 * 32768).astype(np.int16))


def test_a_saturated_channel_is_not_hidden_by_a_good_one(tmp_path):
    frames = np.stack([speech(), np.clip(speech(seed=1) * 100, -1, 1)], axis=1)
    assert refused(tmp_path / "a.wav", frames).startswith("saturated: ")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_one_sample_that_is_no_number_is_enough(tmp_path, value, channels):
    frames = np.stack([speech()] * channels, axis=1)
    frames[4_000, -1] = value
    assert refused(tmp_path / "a.wav", frames, subtype="FLOAT") == "not_finite: 1 samples are NaN or infinite"


def test_numbers_beyond_all_measure_are_out_of_range(tmp_path):
    frames = np.full((RATE_HZ, 2), 3e38, np.float32)
    assert refused(tmp_path / "a.wav", frames, subtype="FLOAT").startswith("out_of_range: ")


def test_limits_can_be_set(tmp_path):
    quiet = speech(peak=3e-4)
    assert refused(tmp_path / "a.wav", quiet, subtype="FLOAT").startswith("silent: ")
    judged(tmp_path / "a.wav", quiet, SignalLimits(min_level_dbfs=-120), subtype="FLOAT")
    judged(tmp_path / "a.wav", np.clip(speech() * 100, -1, 1), SignalLimits(max_clipped=1.0))
    judged(tmp_path / "a.wav", speech(peak=3.0), SignalLimits(max_peak=4.0, max_clipped=1.0), subtype="FLOAT")
    assert refused(tmp_path / "a.wav", speech(peak=0.9), SignalLimits(max_peak=0.8)).startswith("out_of_range: ")


def test_audio_that_is_too_short_is_called_that(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(160), RATE_HZ)
    with pytest.raises(AudioError, match=RejectReason.TOO_SHORT):
        judge_speech(tmp_path / "a.wav", DurationLimits(), signal=LIMITS)


def test_the_last_of_eight_bits_alone_is_silence(tmp_path):
    path = tmp_path / "a.wav"
    steps = np.random.default_rng(0).integers(0, 2, 16_000) / 128
    soundfile.write(path, steps, 16_000, subtype="PCM_U8")
    with pytest.raises(AudioError, match="silent"):
        judge_speech(path, signal=SignalLimits())
