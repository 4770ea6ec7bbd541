"""Audio that is in order but odd: every container, codec and rate, many channels, names, tags and chunks around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from odd.attempt import Attempt, Recipe, pick
from odd.audio_bytes import apev2, chunk, id3v1, id3v2, mp3_in_wav, pcm_chunks, wav_of, without_xing
from odd.audio_files import (
    ALL_FORMS,
    PACKED_FORMS,
    PCM_FORMS,
    Form,
    channels_of,
    choose,
    level_db,
    rate_for,
    slack_s,
    write,
    written,
)
from odd.audio_judging import AUDIO, Expected, attempt
from odd.sound import Signal, random_signal
from odd.workbench import Workbench

_NAMES = (
    *("with space", "-dash", "ünï", "u\u0308", "日本語", "a'b\"c", "new\nline", "tab\there", "%s{0}$(x)", "#1;2"),
    *("x" * 240, "a.b.c", "..x", "~home", "*", "[a]", "\u200bzero", "\u202egnp", "con", "x.wav", "\U0001f600"),
)
WAV = Form("WAV", "PCM_16", ".wav")
MP3 = Form("MP3", "MPEG_LAYER_III", ".mp3")
MIXED_DB = (-30.0, 1.5)
"""Channels that are silent or weak make the mean of all weaker."""


def place(folder: Path, name: str) -> Path:
    """Where the file of an attempt goes."""
    (folder / AUDIO).mkdir(exist_ok=True)
    return folder / AUDIO / name


def _every_form(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    form = choose(rng, ALL_FORMS)
    rate_hz = rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz), place(folder, f"x{form.suffix}")
    written(path, form, signal, rate_hz)
    expected = Expected((signal,), slack_s(form, rate_hz), form.is_lossy, must=form.usual, level_db=level_db(form))
    return attempt(f"{form} at {rate_hz} Hz", path, expected, folder, bench)


def _packed_form(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    form = choose(rng, PACKED_FORMS)
    rate_hz = rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz), place(folder, f"x{form.suffix}")
    written(path, form, signal, rate_hz)
    expected = Expected((signal,), slack_s(form, rate_hz), form.is_lossy, must=True, level_db=level_db(form))
    return attempt(f"{form} at {rate_hz} Hz", path, expected, folder, bench)


def _odd_rate(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    form = choose(rng, [form for form in PCM_FORMS if form.container != "RF64"])
    rate_hz = rate_for(form, rng, odd=True)
    signal, path = random_signal(rng, rate_hz), place(folder, f"x{form.suffix}")
    written(path, form, signal, rate_hz)
    expected = Expected((signal,), slack_s(form, rate_hz) + 2 / rate_hz, form.is_lossy, must=True)
    return attempt(f"{form} at {rate_hz} Hz", path, expected, folder, bench)


def _many_channels(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    form = choose(rng, [*(f for f in PCM_FORMS if "ALAC" not in f.subtype), Form("FLAC", "PCM_16", ".flac")])
    count = int(rng.integers(2, 9))
    gains = rng.uniform(0.3, 1.0, count)
    gains[rng.uniform(size=count) < 0.4] = 0.0
    gains[int(rng.integers(count))] = 1.0
    rate_hz = rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz), place(folder, f"x{form.suffix}")
    write(path, form, channels_of(signal.at(rate_hz), list(gains)), rate_hz)
    expected = Expected((signal,), slack_s(form, rate_hz), form.is_lossy, must=True, level_db=MIXED_DB)
    return attempt(f"{form}, {count} channels of gains {np.round(gains, 1)}", path, expected, folder, bench)


def _wrong_suffix(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    # Raw forms are told by their suffix alone; all others by what they hold.
    form = choose(rng, (*PCM_FORMS, *PACKED_FORMS, Form("NIST", "PCM_16", ".sph")))
    others = [suffix for suffix in (".wav", ".WAV", ".flac", ".ogg", ".mp3", ".Mp3") if suffix != form.suffix]
    suffix, rate_hz = pick(rng, others), rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz), place(folder, f"x{suffix}")
    # Written under a neutral name: soundfile must not mind the suffix either.
    content = written(folder / "neutral", form, signal, rate_hz)
    path.write_bytes(content)
    expected = Expected((signal,), slack_s(form, rate_hz), form.is_lossy, must=True, level_db=level_db(form))
    return attempt(f"{form} named {suffix}", path, expected, folder, bench)


def _odd_name(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    name = pick(rng, _NAMES)
    signal = random_signal(rng)
    path = place(folder, f"{name}.wav")
    hidden = name.startswith(".")
    written(path, WAV, signal, 16_000)
    return attempt(f"name {name[:20]!r}", path, Expected((signal,), must=not hidden), folder, bench)


def _tags(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    signal, path = random_signal(rng), place(folder, "x.mp3")
    content = written(path, MP3, signal, 16_000)
    if rng.uniform() < 0.3:
        content = without_xing(content)
    before = pick(rng, ["", "id3 small", "id3 large", "id3 twice"])
    after = pick(rng, ["", "id3v1", "apev2", "both"])
    tags = {"": b"", "id3 small": id3v2(20), "id3 large": id3v2(70_000), "id3 twice": id3v2(50) + id3v2(100)}
    ends = {"": b"", "id3v1": id3v1(), "apev2": apev2(), "both": apev2() + id3v1()}
    path.write_bytes(tags[before] + content + ends[after])
    expected = Expected((signal,), slack_s(MP3, 16_000), lossy=True, must=True)
    return attempt(f"mp3 with tags: {before or 'none'} before, {after or 'none'} after", path, expected, folder, bench)


def _chunks(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    signal, path = random_signal(rng), place(folder, "x.wav")
    samples = np.rint(signal.at(16_000) * 32767).astype("<i2").tobytes()
    head, data = pcm_chunks(samples, 16_000)
    junk = rng.integers(0, 256, 2 * int(rng.integers(1, 3000)), np.uint8).tobytes()
    listed = chunk(b"LIST", b"INFOISFT" + chunk(b"ISFT", b"odd recorder 1"))
    what, chunks = {
        0: ("JUNK before fmt", [chunk(b"JUNK", bytes(36)), head, data]),
        1: ("a chunk between fmt and data", [head, chunk(b"bext", bytes(602)), data]),
        2: ("a chunk of odd size before data", [head, chunk(b"odd ", b"abc"), data]),
        3: ("LIST after data", [head, data, listed]),
        4: ("noise in a chunk after data", [head, data, chunk(b"nois", junk)]),
        5: ("an empty chunk before data", [head, chunk(b"fake", b""), data]),
        6: ("a chunk of noise as large as the audio before data", [head, chunk(b"nois", samples[::-1]), data]),
        7: ("cue and LIST before data", [chunk(b"cue ", bytes(4)), listed, head, data]),
    }[int(rng.integers(8))]
    path.write_bytes(wav_of(chunks))
    return attempt(f"wav with {what}", path, Expected((signal,), must=True), folder, bench)


def _mp3_in_wav(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    signal, path = random_signal(rng), place(folder, "x.wav")
    mp3 = written(folder / "inner.mp3", MP3, signal, 16_000)
    mp3 = without_xing(mp3) if rng.uniform() < 0.5 else mp3
    told = round(signal.seconds * 16_000) if rng.uniform() < 0.7 else int(rng.integers(0, 8_000))
    path.write_bytes(mp3_in_wav(mp3, 16_000, told))
    expected = Expected((signal,), slack_s(MP3, 16_000) + 0.1, lossy=True)
    return attempt(f"mp3 in wav, fact says {told} samples", path, expected, folder, bench)


def _few_clipped(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A shout: some samples in a thousand at the limit are in every archive."""
    signal, path = random_signal(rng), place(folder, "x.wav")
    wave = signal.at(16_000) / signal.level
    limit = float(np.quantile(np.abs(wave), 1 - 10 ** -float(rng.uniform(3, 3.7))))
    write(path, WAV, np.clip(wave / limit, -1.0, 1.0), 16_000)
    return attempt("a few clipped samples", path, Expected((signal,), must=True, level_db=(-1, 15)), folder, bench)


def _pauses(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Speech with a long pause of digital silence: loud enough where there is something."""
    signal, path = random_signal(rng, seconds=1.0), place(folder, "x.flac")
    pause = Signal(round(float(rng.uniform(0.5, 1.5)), 2), level=0.0)
    parts = (pause, signal) if rng.uniform() < 0.5 else (signal, pause)
    soundfile.write(path, np.concatenate([part.at(16_000) for part in parts]), 16_000)
    return attempt("a pause of digital silence", path, Expected(parts, must=True), folder, bench)


def _quiet(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Far from the microphone, but there: -45 to -35 dB below full scale."""
    signal, path = random_signal(rng), place(folder, "x.wav")
    gain = 10 ** (-float(rng.uniform(25, 35)) / 20)
    write(path, Form("WAV", "PCM_24", ".wav"), signal.at(16_000) * gain, 16_000)
    return attempt(
        f"quiet: {gain:.3f} of usual", path, Expected((signal,), must=True, level_db=(-40, 1)), folder, bench
    )


RECIPES: tuple[Recipe, ...] = (
    _every_form,
    _packed_form,
    _odd_rate,
    _many_channels,
    _wrong_suffix,
    _odd_name,
    _tags,
    _chunks,
    _mp3_in_wav,
    _few_clipped,
    _pauses,
    _quiet,
)
