"""Changes of the training audio: speed, rooms, other voices, noise, holes and volume, each drawn from one stream.

All work is done on loader threads in single precision, utterance by utterance in the order of the micro-batch; the
draws depend on nothing but the generator that is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from w2v2_ray.audio.resampling import resample
from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.spec.augmentation import (
    SPEED_STEPS,
    AugmentationSpec,
    NoiseColour,
    NoiseSpec,
    OverlapSpec,
    ReverberationSpec,
    WaveformMaskSpec,
)

Waveform = npt.NDArray[np.float32]

_FULL_SCALE = 32767.0
_COLOUR_EXPONENT: dict[NoiseColour, float] = {"white": 0.0, "pink": 0.5, "brown": 1.0}
"""Of the amplitude; half of the power's."""
_LOWEST_HZ = 20.0
"""Below it coloured noise does not grow any more."""


def augment(
    rows: Sequence[npt.NDArray[np.int16]],
    sub_batch_sizes: Sequence[int],
    spec: AugmentationSpec,
    rng: np.random.Generator,
) -> list[npt.NDArray[np.int16]]:
    """Change the utterances of a micro-batch as the spec says.

    Args:
        rows: PCM samples of each utterance, without padding.
        sub_batch_sizes: Utterances of each sub-batch; they sum to `len(rows)`. One speed is drawn for each, and other
            voices come from the same one.
        spec: What to do.
        rng: The micro-batch's stream.

    Returns:
        As many utterances; their lengths change with the speed.
    """
    changed: list[npt.NDArray[np.int16]] = []
    start = 0
    for size in sub_batch_sizes:
        group = [_as_float(row) for row in rows[start : start + size]]
        start += size
        if spec.speed is not None:
            factor = spec.speed.factors[int(rng.integers(len(spec.speed.factors)))]
            group = [at_speed(row, factor) for row in group]
        voices = group
        for index, row in enumerate(group):
            changed.append(_as_pcm(_changed(row, index, voices, spec, rng)))
    return changed


def _changed(
    row: Waveform, index: int, voices: Sequence[Waveform], spec: AugmentationSpec, rng: np.random.Generator
) -> Waveform:
    if spec.reverberation is not None and rng.random() < spec.reverberation.probability:
        row = in_room(row, spec.reverberation, rng)
    if spec.overlap is not None and len(voices) > 1 and rng.random() < spec.overlap.probability:
        other = (index + 1 + int(rng.integers(len(voices) - 1))) % len(voices)
        row = with_voice(row, voices[other], spec.overlap, rng)
    if spec.noise is not None and rng.random() < spec.noise.probability:
        row = with_noise(row, spec.noise, rng)
    if spec.waveform_mask is not None and rng.random() < spec.waveform_mask.probability:
        row = with_holes(row, spec.waveform_mask, rng)
    if spec.gain_db is not None:
        row = row * np.float32(_amplitude(rng.uniform(*spec.gain_db)))
    return row


def at_speed(row: Waveform, factor: float) -> Waveform:
    """Play an utterance faster (factor above 1) or slower, pitch included (Ko et al. 2015).

    Shape: [S] -> [ceil(S / factor)].
    """
    steps = round(factor * SPEED_STEPS)
    return resample(row, steps, SPEED_STEPS)


def samples_at_speed(num_samples: int, factor: float) -> int:
    """Length of an utterance of `num_samples` after `at_speed`."""
    steps = round(factor * SPEED_STEPS)
    return -(-num_samples * SPEED_STEPS // steps)


def in_room(row: Waveform, spec: ReverberationSpec, rng: np.random.Generator) -> Waveform:
    """Add the tail of a room, white noise under an exponential decay, to the direct sound; the length stays.

    Shape: [S] -> [S].
    """
    decay_s = rng.uniform(*spec.decay_s)
    below_db = rng.uniform(*spec.direct_db)
    taps = max(int(decay_s * SAMPLE_RATE), 2)
    envelope = np.power(10.0, -3.0 * np.arange(taps) / taps)  # -60 dB at its end
    tail = rng.standard_normal(taps) * envelope
    tail[0] = 0.0
    tail *= _amplitude(-below_db) / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    size = _fast_length(len(row) + taps - 1)
    spectrum = np.fft.rfft(row, size) * np.fft.rfft(tail.astype(np.float32), size)
    return np.fft.irfft(spectrum, size)[: len(row)].astype(np.float32)


def with_voice(row: Waveform, other: Waveform, spec: OverlapSpec, rng: np.random.Generator) -> Waveform:
    """Mix a piece of another utterance, at most half as long as this one, at a random place.

    Shape: row [S], other [R] -> [S].
    """
    below_db = rng.uniform(*spec.snr_db)
    length = min(1 + int(rng.integers(max(len(row) // 2, 1))), len(other))
    place = int(rng.integers(len(row) - length + 1))
    begin = int(rng.integers(len(other) - length + 1))
    piece = other[begin : begin + length]
    mixed = row.copy()
    mixed[place : place + length] += _scaled(piece, row, below_db)
    return mixed


def with_noise(row: Waveform, spec: NoiseSpec, rng: np.random.Generator) -> Waveform:
    """Add noise of a drawn colour.

    Shape: [S] -> [S].
    """
    below_db = rng.uniform(*spec.snr_db)
    colour = spec.colours[int(rng.integers(len(spec.colours)))]
    noise = rng.standard_normal(len(row), dtype=np.float32)
    exponent = _COLOUR_EXPONENT[colour]
    if exponent:
        size = _fast_length(len(row))
        hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
        shape = np.power(np.maximum(hz, _LOWEST_HZ), -exponent).astype(np.float32)
        noise = np.fft.irfft(np.fft.rfft(noise, size) * shape, size)[: len(row)].astype(np.float32)
    return row + _scaled(noise, row, below_db)


def with_holes(row: Waveform, spec: WaveformMaskSpec, rng: np.random.Generator) -> Waveform:
    """Remove some frequency bands, then set some pieces to zero (time-domain SpecAugment).

    Shape: [S] -> [S].
    """
    size = _fast_length(len(row))
    spectrum = np.fft.rfft(row, size)
    hz_a_bin = SAMPLE_RATE / size
    for _ in range(int(rng.integers(spec.bands[0], spec.bands[1] + 1))):
        width = rng.uniform(*spec.band_hz)
        low = rng.uniform(0.0, SAMPLE_RATE / 2 - width)
        spectrum[int(low / hz_a_bin) : int((low + width) / hz_a_bin) + 1] = 0.0
    masked = np.fft.irfft(spectrum, size)[: len(row)].astype(np.float32)
    for _ in range(int(rng.integers(spec.chunks[0], spec.chunks[1] + 1))):
        length = min(int(rng.uniform(*spec.chunk_s) * SAMPLE_RATE), len(row))
        place = int(rng.integers(len(row) - length + 1))
        masked[place : place + length] = 0.0
    return masked


def _scaled(added: Waveform, row: Waveform, below_db: float) -> Waveform:
    """Scale `added` so that its power is `below_db` under that of `row`."""
    power, reference = (float(np.square(part, dtype=np.float64).mean()) for part in (added, row))
    if power == 0.0:
        return added
    return added * np.float32(np.sqrt(reference / power) * _amplitude(-below_db))


def _amplitude(decibels: float) -> float:
    return float(10.0 ** (decibels / 20.0))


def _fast_length(length: int) -> int:
    """Round up to a length whose Fourier transform is fast: a small multiple of a power of two."""
    unit = 1 << max(length.bit_length() - 3, 0)
    return -(-length // unit) * unit


def _as_float(row: npt.NDArray[np.int16]) -> Waveform:
    return row.astype(np.float32)


def _as_pcm(row: Waveform) -> npt.NDArray[np.int16]:
    """Round to PCM; what would be clipped is made quieter as a whole instead."""
    peak = float(np.abs(row).max(initial=0.0))
    if peak > _FULL_SCALE:
        row = row * np.float32(_FULL_SCALE / peak)
    return np.rint(row).astype(np.int16)
