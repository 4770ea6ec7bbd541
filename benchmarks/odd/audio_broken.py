"""Audio files whose bytes are broken: headers that lie about lengths, cuts, joins, damage, and what is no audio."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np

from odd.attempt import Attempt, Recipe, pick
from odd.audio_bytes import (
    chunk,
    counts,
    damaged,
    flac_with_total,
    mp3_frames,
    ogg_pages,
    patched,
    pcm_chunks,
    wav_of,
    with_xing_frames,
    without_xing,
)
from odd.audio_files import PACKED_FORMS, PCM_FORMS, Form, choose, rate_for, slack_s, write, written
from odd.audio_judging import Expected, attempt
from odd.audio_sound import MP3, WAV, place
from odd.sound import random_signal
from odd.workbench import Workbench

_FLAC = Form("FLAC", "PCM_16", ".flac")
_WIDTHS = {
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "PCM_U8": 1,
    "PCM_S8": 1,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}


def _cut(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Cut off: the download or the disk ended. Every header here tells how much there should be."""
    form = choose(rng, (*PCM_FORMS, *PACKED_FORMS))
    rate_hz = rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz), place(folder, f"x{form.suffix}")
    content = written(path, form, signal, rate_hz)
    share = float(rng.uniform(0.05, 0.9))
    path.write_bytes(content[: int(len(content) * share)])
    expected = Expected((signal,), slack_s(form, rate_hz), form.is_lossy)
    return attempt(f"{form} cut to {share:.0%}", path, expected, folder, bench)


def _cut_at_pages(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Ogg that lost whole pages: every page that is left is whole."""
    form = choose(rng, [form for form in PACKED_FORMS if form.container == "OGG"])
    rate_hz = rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz, seconds=4.0), place(folder, f"x{form.suffix}")
    content = written(path, form, signal, rate_hz)
    pages = ogg_pages(content)
    if len(pages) > 3 and rng.uniform() < 0.5:
        start, size = pages[int(rng.integers(2, len(pages) - 1))]
        what = "without a page in the middle"
    else:
        start, size = pages[-1]
        what = "without its last page"
    path.write_bytes(content[:start] + content[start + size :])
    return attempt(f"{form} {what}", path, Expected((signal,), slack_s(form, rate_hz), lossy=True), folder, bench)


def _lying_count(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A count in the header that is not that of what follows."""
    form = choose(rng, [form for form in PCM_FORMS if form.subtype in _WIDTHS])
    rate_hz = rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz), place(folder, f"x{form.suffix}")
    content = written(path, form, signal, rate_hz)
    frames = round(signal.seconds * rate_hz)
    size = frames * _WIDTHS[form.subtype]
    numbers = {"frames": frames, "bytes": size, "bytes + 4": size + 4, "bytes + 8": size + 8, "bytes + 24": size + 24}
    numbers |= {"file": len(content), "file - 8": len(content) - 8}
    found = list(counts(content, numbers))
    if not found:  # a form that keeps its counts elsewhere
        path.unlink()
        return _wav_size(rng, folder, bench)
    name, at, layout, number = found[int(rng.integers(len(found)))]
    change = pick(rng, ["0", "half", "a tenth less", "twice", "all ones", "-8"])
    wrong = {"0": 0, "half": number // 4 * 2, "a tenth less": number * 9 // 20 * 2, "twice": number * 2}
    path.write_bytes(patched(content, at, layout, wrong.get(change, -1 if change == "all ones" else -8)))
    expected = Expected((signal,), slack_s(form, rate_hz), form.is_lossy)
    return attempt(f"{form} whose header says {change} for {name}", path, expected, folder, bench)


def _wav_size(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """The size of the data chunk: what recorders that crash, and programs that write to a pipe, leave behind."""
    signal, path = random_signal(rng), place(folder, "x.wav")
    content = written(path, WAV, signal, 16_000)
    size = len(content) - 44
    wrong = int(rng.choice([0, 2, size // 8 * 4, size - 3200, size + 2, size + 9_000, 0x7FFF_FFFF, 0xFFFF_FFFF, 1]))
    riff = int(rng.choice([len(content) - 8, wrong + 36, 0, 0xFFFF_FFFF]))
    content = patched(patched(content, 40, "<I", wrong), 4, "<I", riff)
    path.write_bytes(content)
    return attempt(f"wav with data size {wrong} of {size}, riff size {riff}", path, Expected((signal,)), folder, bench)


def _flac_total(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    signal, path = random_signal(rng), place(folder, "x.flac")
    content = written(path, _FLAC, signal, 16_000)
    factor = float(rng.choice([0.0, 0.3, 0.9, 1.1, 2.0]))
    path.write_bytes(flac_with_total(content, lambda total: round(total * factor)))
    return attempt(f"flac whose header says {factor:g} of its samples", path, Expected((signal,)), folder, bench)


def _joined(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Two files joined by `cat`: both are heard, or none."""
    form = choose(rng, (MP3, MP3, WAV, _FLAC, *(f for f in PACKED_FORMS if f.container == "OGG"), *PCM_FORMS))
    rate_hz = rate_for(form, rng)
    signals = (random_signal(rng, rate_hz), random_signal(rng, rate_hz))
    path = place(folder, f"x{form.suffix}")
    contents = [written(folder / f"part{form.suffix}", form, signal, rate_hz) for signal in signals]
    without = form.container == "MP3" and rng.uniform() < 0.5
    path.write_bytes(b"".join(without_xing(content) if without else content for content in contents))
    # Where the second begins is a matter of each one's padding, so the parts are not laid on one another to the sample.
    expected = Expected(signals, 2 * slack_s(form, rate_hz), form.is_lossy, alike=0.25)
    return attempt(f"two {form} joined{' without Xing' * without}", path, expected, folder, bench)


def _variable_mp3(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """MP3 of a variable bit rate whose length cannot be told from its first frames."""
    rate_hz = int(rng.choice([16_000, 22_050, 44_100]))
    signal, path = random_signal(rng, rate_hz, seconds=2.0), place(folder, "x.mp3")
    wave = signal.at(rate_hz)
    noise = rng.normal(0, 0.1, len(wave))
    loud_first = rng.uniform() < 0.5
    half = np.arange(len(wave)) < len(wave) // 2
    wave = np.where(half if loud_first else ~half, wave + noise, wave * 0.02)
    write(path, MP3, wave, rate_hz, compression_level=float(rng.uniform(0.2, 0.8)), bitrate_mode="VARIABLE")
    content = path.read_bytes()
    what = pick(rng, ["no Xing header", "no Xing header", "Xing header of half", "of twice", "of no frames"])
    if what == "no Xing header":
        content = without_xing(content)
    else:
        factor = {"Xing header of half": 0.5, "of twice": 2.0}.get(what, 0.0)
        content = with_xing_frames(content, lambda frames: int(frames * factor))
    path.write_bytes(content)
    expected = Expected((signal,), slack_s(MP3, rate_hz), lossy=True, level_db=(-9, 6), alike=0.5)
    order = "busy first" if loud_first else "quiet first"
    return attempt(f"mp3 of variable rate, {order}, {what}", path, expected, folder, bench)


def _mp3_lost_frames(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """An MP3 file with a header that says how many frames there are, some of which are not."""
    signal, path = random_signal(rng, seconds=2.0), place(folder, "x.mp3")
    content = written(path, MP3, signal, 16_000)
    frames = mp3_frames(content)
    first = int(rng.integers(5, len(frames) // 2))
    last = first + int(rng.integers(10, len(frames) // 2 - 2))
    start, end = frames[first][0], frames[last][0]
    filler = pick(rng, ["nothing", "zeros", "noise"])
    between = {"nothing": b"", "zeros": bytes(end - start), "noise": rng.bytes(end - start)}[filler]
    path.write_bytes(content[:start] + between + content[end:])
    expected = Expected((signal,), slack_s(MP3, 16_000), lossy=True, alike=0.4)
    return attempt(f"mp3 with {filler} for {last - first} frames", path, expected, folder, bench)


def _flipped(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    form = choose(rng, (*PCM_FORMS, *PACKED_FORMS))
    rate_hz = rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz), place(folder, f"x{form.suffix}")
    content = written(path, form, signal, rate_hz)
    path.write_bytes(damaged(content, rng, len(content) // 3, int(rng.integers(1, 6))))
    # Which bits matter how much no program can tell: only how long it is.
    expected = Expected((signal,), slack_s(form, rate_hz), form.is_lossy, level_db=(-99, 99), alike=0.0)
    return attempt(f"{form} with bits flipped", path, expected, folder, bench)


def _surrounded(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Bytes that belong to nothing, before or after the audio."""
    form = choose(rng, (MP3, MP3, WAV, WAV, _FLAC, Form("OGG", "VORBIS", ".ogg"), Form("AU", "PCM_16", ".au")))
    rate_hz = 16_000
    signal, path = random_signal(rng), place(folder, f"x{form.suffix}")
    content = written(path, form, signal, rate_hz)
    size = int(rng.integers(1, 900))
    junk = {"zeros": bytes(size), "noise": rng.bytes(size), "text": (b"<html>junk</html>" * 60)[:size]}
    what, after = pick(rng, list(junk)), rng.uniform() < 0.6
    path.write_bytes(content + junk[what] if after else junk[what] + content)
    expected = Expected((signal,), max(slack_s(form, rate_hz), size / 2 / rate_hz), form.is_lossy)
    where = "after" if after else "before"
    return attempt(f"{form} with {size} bytes of {what} {where} it", path, expected, folder, bench)


def _contrary_header(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A WAV header that contradicts itself, or says what cannot be."""
    signal, path = random_signal(rng), place(folder, "x.wav")
    head, data = pcm_chunks(np.rint(signal.at(16_000) * 32767).astype("<i2").tobytes(), 16_000)
    what, at, layout, number = {
        0: ("block align of 7", 20, "<H", 7),
        1: ("byte rate of 1", 16, "<I", 1),
        2: ("no channels", 10, "<H", 0),
        3: ("65535 channels", 10, "<H", 65_535),
        4: ("a rate of 0", 12, "<I", 0),
        5: ("a rate of 4294967295", 12, "<I", 0xFFFF_FFFF),
        6: ("codec 0xABCD", 8, "<H", 0xABCD),
        7: ("samples of 0 bits", 22, "<H", 0),
        8: ("samples of 12 bits", 22, "<H", 12),
        9: ("a fmt chunk of 4 GB", 4, "<I", 0xFFFF_FFF0),
        10: ("a fmt chunk of 3 bytes", 4, "<I", 3),
    }[int(rng.integers(11))]
    chunks = [patched(head, at, layout, number), data]
    if rng.uniform() < 0.2:
        what, chunks = "two data chunks", [head, data, data]
    elif rng.uniform() < 0.1:
        what, chunks = "no data chunk", [head, chunk(b"LIST", bytes(400))]
    path.write_bytes(wav_of(chunks))
    signals = {"two data chunks": (signal, signal), "no data chunk": ()}.get(what, (signal,))
    return attempt(f"wav with {what}", path, Expected(signals, alike=0.5), folder, bench)


def _no_audio(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    suffix = pick(rng, [".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff"])
    path = place(folder, f"x{suffix}")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0a" * 32 + b"\nsize 32044\n"
    contents = {
        "nothing": b"",
        "a WAV header alone": wav_of([*pcm_chunks(b"", 16_000)]),
        "noise": rng.bytes(5_000),
        "zeros": bytes(5_000),
        "text": "это не аудио\n".encode() * 50,
        "an HTML page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "a Git LFS pointer": pointer,
        "a gzip file": b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + zlib.compress(bytes(900)),
        "a zip file": b"PK\x03\x04" + rng.bytes(300),
        "four letters": pick(rng, ["RIFF", "fLaC", "OggS", "ID3\x03", "FORM", "\xff\xfb\x90\x64"]).encode("latin-1"),
        "an ID3 tag alone": b"ID3\x03\0\0\0\0\x02\x01" + bytes(257),
        "an m4a head": b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(600),
        "a webm head": b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0\x1fB\x86\x81\x01webm" + bytes(600),
    }
    what = pick(rng, [*contents, "a folder", "a dangling link", "a pipe", "a link to itself", "a device"])
    if what == "a folder":
        path.mkdir()
    elif what == "a dangling link":
        path.symlink_to("nowhere.wav")
    elif what == "a link to itself":
        path.symlink_to(path.name)
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(contents[what])
    return attempt(f"{what} named {suffix}", path, Expected(()), folder, bench)


def _lengths(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Shorter or longer than what is kept: refused, whatever the rate and the codec."""
    form = choose(rng, (WAV, _FLAC, MP3, Form("OGG", "VORBIS", ".ogg"), Form("WAV", "GSM610", ".wav")))
    rate_hz = rate_for(form, rng)
    signal, path = random_signal(rng, rate_hz, seconds=1.0), place(folder, f"x{form.suffix}")
    written(path, form, signal, rate_hz)
    options = ("--min-s", "3") if rng.uniform() < 0.5 else ("--max-s", "0.5")
    expected = Expected((), heard=False)
    return attempt(f"{form} of 1 s with {' '.join(options)}", path, expected, folder, bench, options)


RECIPES: tuple[Recipe, ...] = (
    _cut,
    _lying_count,
    _variable_mp3,
    _joined,
    _wav_size,
    _cut_at_pages,
    _no_audio,
    _surrounded,
    _flac_total,
    _mp3_lost_frames,
    _flipped,
    _contrary_header,
    _lengths,
)
