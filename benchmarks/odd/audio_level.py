"""Audio whose samples are the trouble: out of range, saturated, silent, or cancelled when channels are mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from odd.attempt import Attempt, Recipe, pick
from odd.audio_files import Form, channels_of, choose, rate_for, slack_s, write
from odd.audio_judging import Expected, attempt
from odd.audio_sound import MIXED_DB, WAV, place
from odd.sound import random_signal
from odd.workbench import Workbench

_FLOATS = (
    Form("WAV", "FLOAT", ".wav"),
    Form("WAV", "DOUBLE", ".wav"),
    Form("AIFF", "FLOAT", ".aiff"),
    Form("AU", "FLOAT", ".au"),
    Form("CAF", "FLOAT", ".caf"),
    Form("W64", "FLOAT", ".w64"),
)
_STEREO = (*_FLOATS[:2], WAV, Form("FLAC", "PCM_16", ".flac"), Form("OGG", "VORBIS", ".ogg"))
_CLIPPED = (r"clip", r"saturat", r"out.of.range", r"beyond full scale", r"above full scale", r"scaled")
_MIXED = (r"channel", r"cancel", r"phase")
_SILENT = (r"silen",)


def _float_scale(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Floats on a scale of integers: to clip them would leave a square wave."""
    form = choose(rng, _FLOATS)
    rate_hz = rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz), place(folder, f"x{form.suffix}")
    scale = float(rng.choice([100.0, 127.0, 255.0, 32_768.0, 8_388_608.0, 2_147_483_648.0]))
    write(path, form, signal.at(rate_hz) * scale, rate_hz)
    # Kept is right only when it was scaled: the level tells.
    expected = Expected((signal,), slack_s(form, rate_hz), level_db=(-12, 6), heard=False)
    return attempt(f"{form} on a scale of {scale:g}", path, expected, folder, bench)


def _loud_float(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Floats that reach beyond full scale: a part would be clipped."""
    form = choose(rng, _FLOATS)
    signal, path = random_signal(rng), place(folder, f"x{form.suffix}")
    peak = float(rng.uniform(2.2, 6.0))
    write(path, form, signal.at(16_000) / signal.level * peak, 16_000)
    expected = Expected((signal,), told_by=_CLIPPED, level_db=(-12, 30), heard=False)
    return attempt(f"{form} with a peak of {peak:.1f}", path, expected, folder, bench)


def _saturated(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Clipped by whoever wrote it: most of it is at the limit."""
    form = choose(
        rng, (WAV, Form("FLAC", "PCM_16", ".flac"), Form("WAV", "PCM_24", ".wav"), Form("WAV", "PCM_U8", ".wav"))
    )
    signal, path = random_signal(rng), place(folder, f"x{form.suffix}")
    gain = float(rng.uniform(20, 500))
    write(path, form, np.clip(signal.at(16_000) / signal.level * gain, -1.0, 1.0), 16_000)
    expected = Expected((signal,), told_by=_CLIPPED, level_db=(-12, 30), heard=False, alike=0.0)
    return attempt(f"{form} saturated by a gain of {gain:.0f}", path, expected, folder, bench)


def _not_finite(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    form = choose(rng, _FLOATS)
    signal, path = random_signal(rng), place(folder, f"x{form.suffix}")
    wave = signal.at(16_000)
    value = float(rng.choice([np.nan, np.inf, -np.inf]))
    count = int(rng.choice([1, 5, len(wave)]))
    wave[rng.permutation(len(wave))[:count]] = value
    write(path, form, wave, 16_000)
    return attempt(f"{form} with {count} samples {value}", path, Expected((), heard=False), folder, bench)


def _silent(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Nothing to be heard: a muted microphone, or the noise of its last bit."""
    form = choose(rng, (*_STEREO, Form("MP3", "MPEG_LAYER_III", ".mp3"), Form("WAV", "PCM_U8", ".wav")))
    rate_hz = rate_for(form, rng)
    path, count = place(folder, f"x{form.suffix}"), rate_hz
    what = pick(rng, ["digital silence", "the last bit", "a constant"])
    waves = {
        "digital silence": np.zeros(count),
        "the last bit": rng.integers(-1, 2, count) / 32_768,
        "a constant": np.full(count, 0.01),
    }
    write(path, form, waves[what], rate_hz)
    expected = Expected((), told_by=_SILENT, heard=False)
    return attempt(f"{form} with {what}", path, expected, folder, bench)


def _opposite(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Channels that cancel when they are mixed, wholly or nearly."""
    form = choose(rng, _STEREO)
    rate_hz = rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz), place(folder, f"x{form.suffix}")
    gains = {
        "opposite": (1.0, -1.0),
        "nearly opposite": (1.0, -0.98),
        "two pairs": (1.0, -1.0, 0.5, -0.5),
        "one of three": (0.5, 0.5, -1.0),
    }
    what = pick(rng, list(gains))
    write(path, form, channels_of(signal.at(rate_hz), gains[what]), rate_hz)
    # Codecs leave a residue of what cancels: what is stored must be the signal, and not 25 dB less.
    level = (MIXED_DB[0] + 5, MIXED_DB[1])
    expected = Expected((signal,), slack_s(form, rate_hz), form.is_lossy, level_db=level, told_by=_MIXED, heard=False)
    return attempt(f"{form}, channels {what}", path, expected, folder, bench)


def _offset(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A constant on top of the signal, as cheap sound cards add one: kept as it is, or without it."""
    signal, path = random_signal(rng), place(folder, "x.wav")
    offset = float(rng.uniform(0.05, 0.25))
    write(path, WAV, signal.at(16_000) * 0.5 + offset, 16_000)
    expected = Expected((signal,), level_db=(-20, 12), heard=False, alike=0.0)
    return attempt(f"wav with an offset of {offset:.2f}", path, expected, folder, bench)


RECIPES: tuple[Recipe, ...] = (_float_scale, _saturated, _opposite, _silent, _loud_float, _not_finite, _offset)
