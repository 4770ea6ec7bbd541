"""Audio files in every container and codec that libsndfile can write, with a signal that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from odd.sound import Signal, Wave

LOSSY = frozenset(
    {"GSM610", "IMA_ADPCM", "MS_ADPCM", "VORBIS", "OPUS", "MPEG_LAYER_III", "DPCM_8", "PCM_S8", "PCM_U8"}
    | {"G721_32", "G723_24", "G723_40", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32", "ULAW", "ALAW"}
)
NARROW = frozenset({"GSM610", "G721_32", "G723_24", "G723_40", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32"})
"""Codecs of one channel, made for the rates of telephones."""
_MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
_RATES_HZ = (8_000, 11_025, 16_000, 16_000, 16_000, 22_050, 32_000, 44_100, 48_000)
_ODD_RATES_HZ = (4_000, 6_000, 7_999, 12_345, 15_999, 16_001, 37_800, 88_200, 96_000, 176_400, 192_000)


@dataclass(frozen=True)
class Form:
    """A container with a codec.

    Args:
        container: libsndfile's name of it.
        subtype: libsndfile's name of the codec.
        suffix: What such files are called.
        usual: Whether `prepare` must read it; what is rare may also be passed over by name.
    """

    container: str
    subtype: str
    suffix: str
    usual: bool = True

    @property
    def is_lossy(self) -> bool:
        """Whether samples come back changed."""
        return self.subtype in LOSSY

    def __str__(self) -> str:
        return f"{self.suffix[1:]} {self.subtype}"


def _forms(container: str, suffix: str, subtypes: str, *, usual: bool = True) -> tuple[Form, ...]:
    return tuple(Form(container, subtype, suffix, usual) for subtype in subtypes.split())


PCM_FORMS = (
    *_forms("WAV", ".wav", "PCM_16 PCM_24 PCM_32 PCM_U8 FLOAT DOUBLE ULAW ALAW"),
    *_forms("WAVEX", ".wav", "PCM_16 PCM_24 FLOAT"),
    *_forms("AIFF", ".aiff", "PCM_16 PCM_24 PCM_S8 FLOAT ULAW"),
    *_forms("AIFF", ".aif", "PCM_16"),
    *_forms("AU", ".au", "PCM_16 PCM_24 FLOAT ULAW ALAW"),
    *_forms("CAF", ".caf", "PCM_16 PCM_24 FLOAT ALAC_16 ALAC_24"),
    *_forms("W64", ".w64", "PCM_16 PCM_24 FLOAT"),
    *_forms("RF64", ".rf64", "PCM_16 PCM_24"),
    *_forms("RF64", ".wav", "PCM_16"),
)
"""Forms whose header counts samples of a size."""
PACKED_FORMS = (
    *_forms("FLAC", ".flac", "PCM_16 PCM_24 PCM_S8"),
    *_forms("WAV", ".wav", "IMA_ADPCM MS_ADPCM GSM610 G721_32 NMS_ADPCM_16 NMS_ADPCM_32"),
    *_forms("AIFF", ".aiff", "IMA_ADPCM GSM610"),
    *_forms("AU", ".au", "G721_32 G723_24 G723_40"),
    *_forms("OGG", ".ogg", "VORBIS OPUS"),
    *_forms("OGG", ".oga", "VORBIS"),
    *_forms("OGG", ".opus", "OPUS"),
    *_forms("MP3", ".mp3", "MPEG_LAYER_III"),
)
RARE_FORMS = (
    *_forms("NIST", ".sph", "PCM_16 ULAW", usual=False),
    *_forms("AVR", ".avr", "PCM_16", usual=False),
    *_forms("IRCAM", ".sf", "PCM_16 FLOAT", usual=False),
    *_forms("PAF", ".paf", "PCM_16", usual=False),
    *_forms("PVF", ".pvf", "PCM_16", usual=False),
    *_forms("SVX", ".iff", "PCM_16", usual=False),
    *_forms("VOC", ".voc", "PCM_16 ULAW", usual=False),
    *_forms("MAT5", ".mat", "DOUBLE", usual=False),
    *_forms("SDS", ".sds", "PCM_16", usual=False),
    *_forms("HTK", ".htk", "PCM_16", usual=False),
)
ALL_FORMS = (*PCM_FORMS, *PACKED_FORMS, *RARE_FORMS)


def choose(rng: np.random.Generator, forms: Sequence[Form]) -> Form:
    """One of several forms."""
    return forms[int(rng.integers(len(forms)))]


def rate_for(form: Form, rng: np.random.Generator, *, odd: bool = False) -> int:
    """A rate that the form can hold."""
    if form.container == "AVR" or form.subtype in NARROW:
        rates: tuple[int, ...] = (8_000, 16_000) if form.subtype != "G721_32" else (8_000,)
    elif form.subtype == "MPEG_LAYER_III":
        rates = _MP3_RATES_HZ
    elif form.subtype == "OPUS":
        rates = _OPUS_RATES_HZ
    else:
        rates = _ODD_RATES_HZ if odd and form in PCM_FORMS else _RATES_HZ
    return int(rng.choice(rates))


def slack_s(form: Form, rate_hz: int) -> float:
    """How much longer or shorter such a file may come back: codecs work in blocks, and pad the last one."""
    if form.subtype == "MPEG_LAYER_III":
        return 3 * 1152 / rate_hz + 0.01
    if form.subtype in LOSSY and form.subtype not in ("PCM_S8", "PCM_U8", "ULAW", "ALAW", "VORBIS"):
        return 0.13
    return 0.002


def level_db(form: Form) -> tuple[float, float]:
    """How much quieter or louder such a file may come back; GSM 6.10 itself loses up to 6 dB of a tone."""
    return (-7.0, 1.5) if form.subtype == "GSM610" else (-1.5, 1.5)


def write(path: Path, form: Form, wave: npt.NDArray[Any], rate_hz: int, **options: Any) -> None:
    """Write a waveform of shape [S] or [S, channels]."""
    # Whole numbers as they are, because libsndfile writes a float file of them on its own scale.
    soundfile.write(path, wave, rate_hz, format=form.container, subtype=form.subtype, **options)


def channels_of(wave: Wave, gains: Sequence[float]) -> Wave:
    """A waveform in several channels, each with a gain; shape [S, channels]."""
    return np.stack([gain * wave for gain in gains], axis=1)


def written(path: Path, form: Form, signal: Signal, rate_hz: int, gains: Sequence[float] = (1.0,)) -> bytes:
    """Write a signal; returns the file's bytes."""
    wave = signal.at(rate_hz)
    write(path, form, wave if len(gains) == 1 else channels_of(wave, gains), rate_hz)
    return path.read_bytes()
