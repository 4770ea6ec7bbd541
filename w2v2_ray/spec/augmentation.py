"""How fine-tuning changes the audio it hears, so that a few hours of speech do for more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from w2v2_ray.spec.base import Finding, Float, PositiveInt, Probability, Spec

SpeedFactor = Annotated[Float, Field(ge=0.5, le=2.0)]
Decibels = Annotated[Float, Field(ge=-60.0, le=60.0)]
ReverberationTime = Annotated[Float, Field(gt=0.0, le=3.0)]

NoiseColour = Literal["white", "pink", "brown"]

SPEED_STEPS = 20
"""Speed factors are multiples of one in so many: each needs a bank of filters."""


def _ordered(values: tuple[float, float], name: str) -> Iterator[Finding]:
    low, high = values
    if low > high:
        yield Finding(f"{name}: [{low}, {high}] begins above its end; write the lower value first", (name,))


class SpeedSpec(Spec):
    """Speed perturbation: tempo and pitch together (Ko et al. 2015, "Audio Augmentation for Speech Recognition")."""

    factors: tuple[SpeedFactor, ...] = Field(default=(0.9, 1.0, 1.1), min_length=1)
    """Each sub-batch is played at one of these, drawn evenly. A slower one makes a batch longer than `max_tokens`."""

    def broken_rules(self) -> Iterator[Finding]:
        """Factors are steps of 0.05."""
        for factor in self.factors:
            if abs(factor * SPEED_STEPS - round(factor * SPEED_STEPS)) > 1e-9:
                near = round(factor * SPEED_STEPS) / SPEED_STEPS
                yield Finding(f"factors: {factor} is no multiple of {1 / SPEED_STEPS}; use {near}", ("factors",))


class NoiseSpec(Spec):
    """Noise added to an utterance at a drawn ratio to its own power."""

    probability: Probability = 0.5
    """Share of utterances that get any."""
    snr_db: tuple[Decibels, Decibels] = (5.0, 30.0)
    """Speech above noise, in dB, drawn evenly between the two."""
    colours: tuple[NoiseColour, ...] = Field(default=("white", "pink", "brown"), min_length=1)
    """Spectra to draw from: power that falls with frequency to the power 0, 1 or 2."""

    def broken_rules(self) -> Iterator[Finding]:
        """The range is in order."""
        yield from _ordered(self.snr_db, "snr_db")


class OverlapSpec(Spec):
    """Other utterances of the sub-batch mixed in below the one that counts (WavLM, Chen et al. 2022, algorithm 1)."""

    probability: Probability = 0.2
    """Share of utterances that get a second voice, on at most half of their length."""
    snr_db: tuple[Decibels, Decibels] = (5.0, 20.0)
    """The utterance above the other, in dB."""

    def broken_rules(self) -> Iterator[Finding]:
        """The range is in order."""
        yield from _ordered(self.snr_db, "snr_db")


class ReverberationSpec(Spec):
    """A room: the direct sound and a tail of noise that decays exponentially (Polack's model)."""

    probability: Probability = 0.3
    """Share of utterances that are placed in one."""
    decay_s: tuple[ReverberationTime, ReverberationTime] = (0.1, 0.5)
    """Time in which the tail falls by 60 dB (RT60), in seconds."""
    direct_db: tuple[Decibels, Decibels] = (0.0, 15.0)
    """Direct sound above the tail, in dB."""

    def broken_rules(self) -> Iterator[Finding]:
        """The ranges are in order."""
        yield from _ordered(self.decay_s, "decay_s")
        yield from _ordered(self.direct_db, "direct_db")


class WaveformMaskSpec(Spec):
    """Pieces of silence and notches in the spectrum of the waveform (SpeechBrain's drop_chunk and drop_freq)."""

    chunks: tuple[PositiveInt, PositiveInt] = (1, 4)
    """Fewest and most pieces of an utterance set to zero."""
    chunk_s: tuple[ReverberationTime, ReverberationTime] = (0.02, 0.1)
    """Their length in seconds."""
    bands: tuple[PositiveInt, PositiveInt] = (1, 3)
    """Fewest and most frequency bands removed."""
    band_hz: tuple[Annotated[Float, Field(gt=0, le=4000)], Annotated[Float, Field(gt=0, le=4000)]] = (100.0, 500.0)
    """Their width in Hz."""
    probability: Probability = 0.5
    """Share of utterances that are masked so."""

    def broken_rules(self) -> Iterator[Finding]:
        """The ranges are in order."""
        for name in ("chunks", "chunk_s", "bands", "band_hz"):
            yield from _ordered(getattr(self, name), name)


class AugmentationSpec(Spec):
    """What is done to the training audio of fine-tuning, in this order; held-out audio is heard as it is.

    Every draw is keyed by the micro-batch, so that a run stays independent of its workers.
    """

    speed: SpeedSpec | None = None
    """Speed perturbation; null plays everything as it is."""
    reverberation: ReverberationSpec | None = None
    """Rooms."""
    overlap: OverlapSpec | None = None
    """Other voices."""
    noise: NoiseSpec | None = None
    """Noise."""
    waveform_mask: WaveformMaskSpec | None = None
    """Holes in time and frequency."""
    gain_db: tuple[Decibels, Decibels] | None = None
    """Volume, in dB, drawn evenly; without effect where `model.normalize_waveform` takes it out again."""

    def broken_rules(self) -> Iterator[Finding]:
        """The range is in order."""
        if self.gain_db is not None:
            yield from _ordered(self.gain_db, "gain_db")

    @property
    def fastest(self) -> float:
        """The largest speed factor: what shortens utterances most."""
        return max(self.speed.factors) if self.speed is not None else 1.0
