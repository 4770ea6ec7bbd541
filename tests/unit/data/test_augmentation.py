"""Augmentation does to a signal what it says, and nothing else than the stream decides it."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from w2v2_ray.data.augmentation import (
    at_speed,
    augment,
    in_room,
    samples_at_speed,
    with_holes,
    with_noise,
    with_voice,
)
from w2v2_ray.spec.augmentation import (
    AugmentationSpec,
    NoiseSpec,
    OverlapSpec,
    ReverberationSpec,
    WaveformMaskSpec,
)

RATE = 16_000
EVERYTHING = AugmentationSpec.model_validate(
    {
        "speed": {"factors": [0.9, 1.1]},
        "reverberation": {"probability": 1},
        "overlap": {"probability": 1},
        "noise": {"probability": 1},
        "waveform_mask": {"probability": 1},
        "gain_db": [-6, 6],
    }
)


def tone(hz, seconds=1.0, amplitude=3000.0):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def pcm(*hz):
    return [tone(one).astype(np.int16) for one in hz]


def rng(key=0):
    return np.random.default_rng(key)


def power(x):
    return float(np.square(x, dtype=np.float64).mean())


def loudest_hz(x):
    return float(np.fft.rfft(x).__abs__().argmax() * RATE / len(x))


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_speed_moves_pitch_and_length_alike(factor):
    played = at_speed(tone(1000, 2.0), factor)
    assert len(played) == samples_at_speed(2 * RATE, factor) == int(np.ceil(2 * RATE / factor))
    assert loudest_hz(played) == pytest.approx(1000 * factor, abs=1.0)


@pytest.mark.parametrize("snr", [0.0, 10.0, 25.0])
@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
def test_noise_has_the_power_that_was_asked_for(snr, colour):
    row = tone(700)
    noise = with_noise(row, NoiseSpec(snr_db=(snr, snr), colours=(colour,)), rng()) - row
    assert 10 * np.log10(power(row) / power(noise)) == pytest.approx(snr, abs=0.05)


@pytest.mark.parametrize(("colour", "octave_db"), [("white", 0.0), ("pink", 3.01), ("brown", 6.02)])
def test_the_colours_fall_by_as_much_an_octave_as_their_names_say(colour, octave_db):
    row = tone(700, 30.0)
    noise = with_noise(row, NoiseSpec(snr_db=(0, 0), colours=(colour,)), rng(5)) - row
    spectrum = np.square(np.abs(np.fft.rfft(noise)))
    hz = np.fft.rfftfreq(len(noise), 1 / RATE)

    def density(low):
        return spectrum[(hz >= low) & (hz < low * 1.1)].mean()

    falls = [10 * np.log10(density(low) / density(2 * low)) for low in (200, 400, 800, 1600, 3000)]
    assert np.mean(falls) == pytest.approx(octave_db, abs=0.4)


def test_a_second_voice_covers_half_at_most_and_is_as_far_below_as_asked():
    row, other = tone(500), tone(2000, amplitude=200.0)
    for key in range(20):
        added = with_voice(row, other, OverlapSpec(snr_db=(10, 10)), rng(key)) - row
        touched = np.flatnonzero(np.abs(added) > 1e-3)
        assert len(touched)
        assert touched[-1] - touched[0] < len(row) // 2 + 1
        piece = added[touched[0] : touched[-1] + 1]
        if len(piece) > 2000:
            assert 10 * np.log10(power(row) / power(piece)) == pytest.approx(10, abs=0.3)


def test_a_room_keeps_the_direct_sound_in_its_place_and_decays_as_long_as_asked():
    click = np.zeros(RATE, np.float32)
    click[1000] = 10_000.0
    spec = ReverberationSpec(decay_s=(0.4, 0.4), direct_db=(6, 6))
    heard = in_room(click, spec, rng())
    assert len(heard) == len(click)
    assert np.abs(heard).argmax() == 1000
    assert np.abs(heard[:1000]).max() < 1.0
    tail = heard[1001:]
    assert 10 * np.log10(10_000.0**2 / np.square(tail, dtype=np.float64).sum()) == pytest.approx(6, abs=0.05)
    early, late = power(tail[:640]), power(tail[3200 : 3200 + 640])  # 0.2 s later: half of the decay
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=2)
    assert np.abs(tail[6400:]).max() < 1.0


def test_holes_are_as_many_as_asked():
    row = tone(3000)
    spec = WaveformMaskSpec(chunks=(2, 2), chunk_s=(0.05, 0.05), bands=(1, 1), band_hz=(100, 100))
    masked = with_holes(row, spec, rng(3))
    zeros = np.flatnonzero(masked == 0.0)
    assert 800 <= len(zeros) <= 1600 + 10


def test_a_notch_removes_its_band_alone():
    noise = rng().standard_normal(RATE).astype(np.float32) * 1000
    spec = WaveformMaskSpec(chunks=(1, 1), chunk_s=(1 / RATE, 1 / RATE), bands=(1, 1), band_hz=(400, 400))
    spectrum = np.abs(np.fft.rfft(with_holes(noise, spec, rng(1)), 16384)) / np.abs(np.fft.rfft(noise, 16384))
    quiet = np.flatnonzero(spectrum < 0.3) * RATE / 16384
    assert 250 < quiet[-1] - quiet[0] < 450
    assert np.median(spectrum) == pytest.approx(1, abs=0.02)


def test_one_speed_is_drawn_for_a_sub_batch():
    spec = AugmentationSpec.model_validate({"speed": {"factors": [0.8, 0.9, 1.0, 1.1, 1.2]}})
    lengths = [len(row) for row in augment(pcm(*[440] * 9), [3, 3, 3], spec, rng(2))]
    groups = [set(lengths[start : start + 3]) for start in (0, 3, 6)]
    assert all(len(group) == 1 for group in groups)
    assert len(set().union(*groups)) > 1


def test_the_stream_alone_decides():
    rows = pcm(300, 500, 700, 900)
    one, again, other = (augment(rows, [2, 2], EVERYTHING, rng(key)) for key in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_empty_spec_changes_no_sample():
    rows = pcm(300, 500)
    same = augment(rows, [2], AugmentationSpec(), rng())
    assert all(np.array_equal(a, b) for a, b in zip(rows, same, strict=True))


def test_loud_audio_is_made_quieter_instead_of_clipped():
    loud = augment([tone(440, amplitude=30_000).astype(np.int16)], [1], AugmentationSpec(gain_db=(12, 12)), rng())[0]
    assert np.abs(loud.astype(int)).max() == 32767
    assert np.count_nonzero(np.abs(loud.astype(int)) == 32767) < len(loud) / 20  # clipping by 12 dB: four fifths
    reference = tone(440)
    assert abs(np.corrcoef(loud, reference)[0, 1]) > 0.9999


@pytest.mark.parametrize("length", [1, 2, 17, 400])
def test_the_shortest_audio_survives_everything(length):
    rows = [np.full(length, 100, np.int16)] * 3
    assert [len(row) > 0 for row in augment(rows, [3], EVERYTHING, rng())] == [True] * 3


def test_silence_stays_silent():
    rows = [np.zeros(4000, np.int16), np.zeros(4000, np.int16)]
    assert all(not row.any() for row in augment(rows, [2], EVERYTHING, rng()))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"speed": {"factors": [0.93]}}, "use 0.95"),
        ({"speed": {"factors": [3.0]}}, "less than or equal to 2"),
        ({"noise": {"snr_db": [20, 5]}}, r"snr_db: \[20.0, 5.0\] begins above its end"),
        ({"reverberation": {"decay_s": [0.5, 0.1]}}, "decay_s"),
        ({"waveform_mask": {"chunks": [4, 1]}}, "chunks"),
        ({"gain_db": [3, -3]}, "gain_db"),
        ({"noise": {"colours": ["blue"]}}, "white"),
    ],
)
def test_bad_settings_are_named(spec, message):
    with pytest.raises(ValidationError, match=message):
        AugmentationSpec.model_validate(spec)
