"""Signals that are known at every instant, so that what was stored can be compared with what was meant.

A signal is a formula: the samples at 16 kHz that a file of any rate should give need no resampler to be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float64]

STORED_HZ = 16_000
_BLOCK = 1_600  # 100 ms
_MOST_LAG = 4_800
_ALIKE = 0.85
_ALIKE_LOSSY = 0.5
_SILENT = 0.05  # norm of a block; a tone of -60 dB has 0.03


@dataclass(frozen=True)
class Signal:
    """Two glides with a slow swell: no two tenths of a second of it are alike.

    Args:
        seconds: Length.
        low_hz: Where the first glide begins.
        high_hz: Where it ends; the other goes the other way at half its strength.
        swell_hz: How often it swells.
        level: Peak, 1 being full scale.
    """

    seconds: float
    low_hz: float = 250.0
    high_hz: float = 1_800.0
    swell_hz: float = 2.3
    level: float = 0.5

    def at(self, rate_hz: float) -> Wave:
        """The samples at a rate, shape [S]."""
        times = np.arange(round(self.seconds * rate_hz)) / rate_hz
        slope = (self.high_hz - self.low_hz) / self.seconds
        up = np.sin(2 * np.pi * (self.low_hz * times + slope * times**2 / 2))
        down = np.sin(2 * np.pi * (self.high_hz * times - slope * times**2 / 2))
        swell = 0.65 - 0.35 * np.cos(2 * np.pi * self.swell_hz * times)
        wave: Wave = self.level * swell * (up + 0.5 * down) / 1.5
        return wave


def random_signal(rng: np.random.Generator, rate_hz: float = STORED_HZ, *, seconds: float | None = None) -> Signal:
    """A signal that a rate can hold."""
    top = 0.32 * min(rate_hz, STORED_HZ)
    low, high = sorted(rng.uniform(0.08 * top, min(top, 2_600.0), 2))
    return Signal(
        seconds=round(float(rng.uniform(0.6, 1.6)), 3) if seconds is None else seconds,
        low_hz=float(low),
        high_hz=float(max(high, low + 0.3 * top)),
        swell_hz=float(rng.uniform(1.5, 4.0)),
        level=float(rng.uniform(0.25, 0.7)),
    )


@dataclass(frozen=True)
class Comparison:
    """How what was stored compares with what was meant.

    Args:
        stored_s: Length of what was stored.
        meant_s: Length of what was meant.
        alike: Share of tenths of a second that are what was meant.
        level_db: Level of what was stored over what was meant.
        lag_s: How late it is.
    """

    stored_s: float
    meant_s: float
    alike: float
    level_db: float
    lag_s: float

    def __str__(self) -> str:
        return (
            f"{self.stored_s:.3f} s stored of {self.meant_s:.3f} s, {self.alike:.0%} of it as it was meant, "
            f"level {self.level_db:+.1f} dB"
        )


def compare(stored: npt.NDArray[np.int16], meant: Sequence[Signal] | Signal, *, lossy: bool = False) -> Comparison:
    """Compare stored samples with a signal, or with several one after the other; polarity does not matter."""
    parts = [meant] if isinstance(meant, Signal) else list(meant)
    truth = np.concatenate([part.at(STORED_HZ) for part in parts])
    found = stored.astype(np.float64) / 32768
    lag = _lag(found, truth) if len(found) and found.any() else 0
    start, end = max(0, lag), min(len(found), len(truth) + lag)
    heard, wanted = found[start:end], truth[start - lag : end - lag]
    alike = [
        _alike(heard[at : at + _BLOCK], wanted[at : at + _BLOCK]) >= (_ALIKE_LOSSY if lossy else _ALIKE)
        for at in range(0, max(1, len(heard) - _BLOCK + 1), _BLOCK)
    ]
    return Comparison(
        stored_s=len(found) / STORED_HZ,
        meant_s=len(truth) / STORED_HZ,
        alike=float(np.mean(alike)) if len(heard) else 0.0,
        level_db=_decibels(heard) - _decibels(wanted),
        lag_s=lag / STORED_HZ,
    )


def _lag(found: Wave, truth: Wave) -> int:
    size = 1 << (len(found) + len(truth)).bit_length()
    crossed = np.abs(np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(truth, size)), size))
    lags = np.arange(size)
    lags[lags > size // 2] -= size
    crossed[np.abs(lags) > _MOST_LAG] = 0.0
    return int(lags[int(np.argmax(crossed))])


def _alike(one: Wave, other: Wave) -> float:
    sizes = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    if max(sizes) < _SILENT:
        return 1.0
    return abs(float(one @ other)) / (sizes[0] * sizes[1]) if min(sizes) > 0 else 0.0


def _decibels(wave: Wave) -> float:
    power = float(np.mean(wave**2)) if len(wave) else 0.0
    return 10 * np.log10(power) if power > 0 else -200.0


WORDS = ("ALPHA", "BRAVO", "CHARLIE", "DELTA", "ECHO", "FOXTROT", "GOLF", "HOTEL", "INDIA", "JULIET", "KILO", "LIMA")
"""What is said: each word has a tone of its own."""
_FIRST_HZ = 300.0
_STEP_HZ = 120.0


def tone(word: str, seconds: float, rate_hz: int = STORED_HZ) -> Wave:
    """The tone that says a word."""
    number = WORDS.index(word)
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    wave: Wave = 0.3 * np.sin(2 * np.pi * (_FIRST_HZ + _STEP_HZ * number) * times)
    return wave


def words_heard(stored: npt.NDArray[np.int16]) -> tuple[str, ...]:
    """Which words are said, each once, in the order in which they are first heard; blocks that mix two are passed."""
    heard: dict[str, None] = {}
    frequencies = np.fft.rfftfreq(_BLOCK, 1 / STORED_HZ)
    for at in range(0, len(stored) - _BLOCK + 1, _BLOCK):
        block = stored[at : at + _BLOCK].astype(np.float64)
        spectrum = np.abs(np.fft.rfft(block * np.hanning(_BLOCK)))
        peak = int(np.argmax(spectrum))
        number = round((float(frequencies[peak]) - _FIRST_HZ) / _STEP_HZ)
        beside = np.abs(frequencies - frequencies[peak]) <= 35
        pure = float((spectrum[beside] ** 2).sum() / max(float((spectrum**2).sum()), 1e-9))
        if 0 <= number < len(WORDS) and pure > 0.95:
            heard[WORDS[number]] = None
    return tuple(heard)
