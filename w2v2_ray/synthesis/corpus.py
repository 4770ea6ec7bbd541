"""A corpus of synthesised speech with transcripts: as many hours as wanted, the same for the same seed.

`train.jsonl` and `valid.jsonl` are NeMo manifests that `prepare` reads. No sentence and no voice is in both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from w2v2_ray.audio.resampling import resample
from w2v2_ray.audio.samples import SAMPLE_RATE, Samples
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.errors import DatasetError, RunFailedError
from w2v2_ray.places.storage import atomic_path, locate
from w2v2_ray.synthesis.espeak import Espeak, SpokenRequest
from w2v2_ray.synthesis.sentences import draw_sentence, is_held_out, transcript_of

_ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan", "en-us-nyc", "en-gb-x-gbcwmd")
_VARIANTS = ("f2", "m3", "f4", "m1", "f1", "m7", "f3", "m4", "f5", "m2", "m5", "m6", "m8")
MAX_VOICES = len(_ACCENTS) * len(_VARIANTS)
_HELD_OUT_VOICES_OF = 5  # one voice in so many, at least one, is only ever in the held-out part
_MIN_S, _MAX_S = 2.0, 15.0
_ATTEMPTS = 1000
_SETTINGS_NAME = "synth.json"
_PEAK_DB = (-15.0, -2.0)
_NOISE_DB = (-65.0, -45.0)
_VOICE, _WORDS, _SOUND = range(3)  # what is drawn

Progress = Callable[[int, int], None]
"""Told how much of how much is there: utterances, or seconds of audio where the settings count hours."""


@dataclass(frozen=True)
class SynthesisSettings:
    """What decides a corpus.

    Args:
        seed: Words, voices and their sound.
        voices: How many speakers, the held-out ones included.
        utterances: Size of the corpus, or
        hours: its audio; exactly one of the two.
        valid_fraction: Part of it that goes to valid.jsonl.
        audio_format: `flac` or `wav`.
    """

    seed: int = 0
    voices: int = 15
    utterances: int | None = None
    hours: float | None = None
    valid_fraction: float = 0.1
    audio_format: str = "flac"

    def __post_init__(self) -> None:
        if (self.utterances is None) == (self.hours is None):
            raise DatasetError("give either the hours or the number of utterances to synthesise")
        if not 2 <= self.voices <= MAX_VOICES:
            raise DatasetError(f"{self.voices} voices; 2 to {MAX_VOICES} are possible (one at least is held out)")
        if (self.utterances is not None and self.utterances < 2) or (self.hours is not None and self.hours <= 0):
            raise DatasetError("a corpus needs at least 2 utterances, or more than 0 hours")


@dataclass(frozen=True)
class SynthesisSummary:
    """What a synthesis gave.

    Args:
        manifests: train.jsonl and valid.jsonl.
        utterances: How many in each.
        hours: Audio in each.
        voices: Speakers in each.
    """

    manifests: tuple[Path, Path]
    utterances: tuple[int, int]
    hours: tuple[float, float]
    voices: tuple[int, int]


@dataclass(frozen=True)
class Voice:
    """One speaker.

    Args:
        name: Speaker id.
        voice: espeak-ng's voice and variant.
        rate: Usual words a minute.
        pitch: Usual pitch, 0 to 100.
        pitch_range: 0 to 100.
    """

    name: str
    voice: str
    rate: int
    pitch: int
    pitch_range: int


def make_voices(settings: SynthesisSettings) -> tuple[list[Voice], list[Voice]]:
    """The speakers of the training and of the held-out part."""
    streams = RandomStreams(settings.seed, "synthesis")
    voices = []
    for number in range(settings.voices):
        # Both lists advance, so that neighbours differ in accent and variant; 8 and 13 have no common factor.
        accent, variant = _ACCENTS[number % len(_ACCENTS)], _VARIANTS[number % len(_VARIANTS)]
        draw = streams.generator(Purpose.SPEECH, _VOICE, number)
        rate, pitch, pitch_range = (int(draw.integers(*span)) for span in ((140, 191), (35, 66), (35, 71)))
        voices.append(Voice(f"v{number:03d}-{accent}-{variant}", f"{accent}+{variant}", rate, pitch, pitch_range))
    held_out = max(1, settings.voices // _HELD_OUT_VOICES_OF)
    return voices[:-held_out], voices[-held_out:]


def synthesise_corpus(out: Path, settings: SynthesisSettings, progress: Progress | None = None) -> SynthesisSummary:
    """Write audio, train.jsonl and valid.jsonl; killed and called again, it goes on where it stopped.

    Args:
        out: Folder, new or of an unfinished call with the same settings.
        settings: What to make.
        progress: Told how far it is.

    Raises:
        DatasetError: The folder holds something else.
        MissingExtraError: espeak-ng is not installed.
        RunFailedError: espeak-ng failed.
    """
    _claim_folder(out, settings)
    train_voices, valid_voices = make_voices(settings)
    with Espeak() as espeak:
        parts = (
            _Part(out, settings, espeak, held_out=False, voices=train_voices),
            _Part(out, settings, espeak, held_out=True, voices=valid_voices),
        )
        wanted = sum(part.wanted for part in parts)
        for part in parts:
            while part.done < part.wanted:
                part.add_utterance()
                if progress is not None:
                    progress(min(round(wanted), round(sum(other.done for other in parts))), round(wanted))
    train, valid = parts
    return SynthesisSummary(
        manifests=(train.finish(), valid.finish()),
        utterances=(len(train.entries), len(valid.entries)),
        hours=(train.audio_s / 3600, valid.audio_s / 3600),
        voices=(len(train_voices), len(valid_voices)),
    )


class _Part:
    """The training or the held-out part of a corpus in the making.

    What is finished stands in a partial manifest, one line an utterance, written after the utterance's audio.
    """

    def __init__(
        self, out: Path, settings: SynthesisSettings, espeak: Espeak, *, held_out: bool, voices: list[Voice]
    ) -> None:
        self._out = out
        self._settings = settings
        self._espeak = espeak
        self._held_out = held_out
        self._voices = voices
        self._streams = RandomStreams(settings.seed, "synthesis")
        name = "valid" if held_out else "train"
        self._manifest = out / f"{name}.jsonl"
        self._partial = out / f".{name}.jsonl.part"
        self.entries = _read_entries(self._manifest if self._manifest.exists() else self._partial)
        self.audio_s = sum(entry["duration"] for entry in self.entries)
        if not self._manifest.exists():
            # Without the line that a kill may have cut.
            self._partial.write_text("".join(json.dumps(entry) + "\n" for entry in self.entries))

    @property
    def done(self) -> float:
        """Utterances or seconds that are there, whichever the settings count."""
        return self.audio_s if self._settings.utterances is None else len(self.entries)

    @property
    def wanted(self) -> float:
        """Utterances or seconds that shall be there."""
        fraction = self._settings.valid_fraction if self._held_out else 1 - self._settings.valid_fraction
        if self._settings.hours is not None:
            return self._settings.hours * 3600 * fraction
        assert self._settings.utterances is not None
        valid = max(1, round(self._settings.utterances * self._settings.valid_fraction))
        return valid if self._held_out else self._settings.utterances - valid

    def add_utterance(self) -> None:
        """Speak the next utterance, write it, note it."""
        number = len(self.entries)
        voice = self._voices[number % len(self._voices)]
        sentence, samples = self._draw(number, voice)
        name = f"{voice.name}-{number:06d}.{self._settings.audio_format}"
        path = self._out / "audio" / voice.name / name
        with atomic_path(path) as temporary:
            soundfile.write(temporary, samples, SAMPLE_RATE, format=self._settings.audio_format, subtype="PCM_16")
        entry = {
            "audio_filepath": path.relative_to(self._out).as_posix(),
            "duration": len(samples) / SAMPLE_RATE,
            "text": transcript_of(sentence),
            "speaker": voice.name,
        }
        with self._partial.open("a") as partial:
            partial.write(json.dumps(entry) + "\n")
        self.entries.append(entry)
        self.audio_s += entry["duration"]

    def finish(self) -> Path:
        """Write the manifest."""
        with atomic_path(self._manifest) as temporary:
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in self.entries))
        self._partial.unlink(missing_ok=True)
        return self._manifest

    def _draw(self, number: int, voice: Voice) -> tuple[str, Samples]:
        """Draw until sentence and length fit this part."""
        for attempt in range(_ATTEMPTS):
            draw = self._streams.generator(Purpose.SPEECH, _WORDS, self._held_out, number, attempt)
            sentence = draw_sentence(draw)
            if is_held_out(sentence) != self._held_out:
                continue
            request = SpokenRequest(
                sentence,
                voice.voice,
                rate=voice.rate + int(draw.integers(-15, 16)),
                pitch=voice.pitch + int(draw.integers(-8, 9)),
                pitch_range=voice.pitch_range,
            )
            samples, rate_hz = self._espeak.speak(request)
            if _MIN_S <= len(samples) / rate_hz <= _MAX_S:
                sound = self._streams.generator(Purpose.SPEECH, _SOUND, self._held_out, number)
                return sentence, _record(samples, rate_hz, sound)
        raise RunFailedError(f"no sentence of {_MIN_S:g} to {_MAX_S:g} s came up in {_ATTEMPTS} attempts")


def _record(samples: Samples, rate_hz: int, draw: np.random.Generator) -> Samples:
    """As if recorded: at 16 kHz, at some level, with a little noise so that pauses are not digital silence."""
    waveform = resample(samples.astype(np.float32) / np.float32(32768), rate_hz, SAMPLE_RATE)
    peak, noise = (10 ** (float(draw.uniform(*span)) / 20) for span in (_PEAK_DB, _NOISE_DB))
    waveform = waveform * np.float32(peak / max(float(np.abs(waveform).max()), 1e-4))
    waveform = waveform + np.float32(noise * peak) * draw.standard_normal(len(waveform), dtype=np.float32)
    recorded: Samples = np.clip(np.rint(waveform * 32768), -32768, 32767).astype(np.int16)
    return recorded


def _claim_folder(out: Path, settings: SynthesisSettings) -> None:
    """Note the settings in a new folder, or find the same ones noted.

    Raises:
        DatasetError: The folder holds something else.
    """
    note = out / _SETTINGS_NAME
    content = json.dumps(asdict(settings), indent=1) + "\n"
    if note.exists():
        if note.read_text() != content:
            raise DatasetError(
                f"{out}: holds speech synthesised with other settings; choose another folder or delete it"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out}: is not empty and holds no synthesised speech; choose another folder")
    locate(out).make_folder()
    locate(note).write_bytes(content.encode())


def _read_entries(path: Path) -> list[dict[str, Any]]:
    """Entries of a manifest, up to a line that was cut."""
    entries = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                break
    return entries
