"""What can be done to the bytes of an audio file: headers that lie, frames and pages cut out, chunks put in."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import numpy as np

_MP3_KBPS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_MP3_RATES_HZ = (44_100, 48_000, 32_000)
_HEADER_BYTES = 200


def id3v2(size: int) -> bytes:
    """A tag that stands before MP3 audio, with a text frame and padding."""
    text = b"TIT2" + struct.pack(">I", 7) + b"\0\0\0odd in"
    body = text + bytes(max(0, size - len(text)))
    length = bytes((len(body) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + length + body


def id3v1() -> bytes:
    """A tag that stands after MP3 audio."""
    return b"TAG" + b"title".ljust(30, b"\0") + bytes(95)


def apev2() -> bytes:
    """Another tag that stands after MP3 audio."""
    item = struct.pack("<II", 3, 0) + b"Title\0odd"
    footer = b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, 0) + bytes(8)
    return item + footer


def mp3_frames(content: bytes) -> list[tuple[int, int]]:
    """Start and size of every MPEG layer III frame."""
    at = 0
    if content[:3] == b"ID3":
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))
    frames = []
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] & 0xE0 == 0xE0:
        version, rate = (content[at + 1] >> 3) & 3, (content[at + 2] >> 2) & 3
        kbps = _MP3_KBPS[version != 3][min(content[at + 2] >> 4, 14)]
        rate_hz = _MP3_RATES_HZ[rate % 3] // (1 if version == 3 else 2 if version == 2 else 4)
        size = (144 if version == 3 else 72) * kbps * 1000 // rate_hz + ((content[at + 2] >> 1) & 1)
        if size < 24:
            break
        frames.append((at, size))
        at += size
    return frames


def without_xing(content: bytes) -> bytes:
    """An MP3 file without the frame that tells how many frames there are."""
    start, size = mp3_frames(content)[0]
    frame = content[start : start + size]
    return content[:start] + content[start + size :] if b"Xing" in frame or b"Info" in frame else content


def with_xing_frames(content: bytes, change: Callable[[int], int]) -> bytes:
    """An MP3 file whose Xing or Info frame tells another number of frames."""
    start, size = mp3_frames(content)[0]
    at = max(content.find(tag, start, start + size) for tag in (b"Xing", b"Info"))
    if at < 0 or not content[at + 7] & 1:
        return content
    (frames,) = struct.unpack(">I", content[at + 8 : at + 12])
    return content[: at + 8] + struct.pack(">I", change(frames) & 0xFFFF_FFFF) + content[at + 12 :]


def ogg_pages(content: bytes) -> list[tuple[int, int]]:
    """Start and size of every Ogg page."""
    pages, at = [], 0
    while content[at : at + 4] == b"OggS":
        segments = content[at + 26]
        size = 27 + segments + sum(content[at + 27 : at + 27 + segments])
        pages.append((at, size))
        at += size
    return pages


def counts(content: bytes, numbers: dict[str, int]) -> Iterator[tuple[str, int, str, int]]:
    """Where a header tells one of the numbers: its name, position, form for `struct` and value."""
    for name, number in numbers.items():
        for form in ("<I", ">I", "<Q", ">Q"):
            if number >= 1 << (32 if form[1] == "I" else 64):
                continue
            at = content.find(struct.pack(form, number), 0, _HEADER_BYTES)
            # A 64-bit number holds a 32-bit one: what is followed by zeros is told by its own form.
            if at >= 0 and number > 255:
                yield name, at, form, number


def patched(content: bytes, at: int, form: str, number: int) -> bytes:
    """The bytes with another number in them."""
    size = struct.calcsize(form)
    return content[:at] + struct.pack(form, number % (1 << (8 * size))) + content[at + size :]


def flac_with_total(content: bytes, change: Callable[[int], int]) -> bytes:
    """A FLAC file whose STREAMINFO tells another number of samples."""
    packed = int.from_bytes(content[18:26], "big")
    total = packed & ((1 << 36) - 1)
    packed = packed - total + change(total) % (1 << 36)
    return content[:18] + packed.to_bytes(8, "big") + content[26:]


def chunk(name: bytes, body: bytes, *, padded: bool = True) -> bytes:
    """A RIFF chunk."""
    return name + struct.pack("<I", len(body)) + body + (b"\0" if padded and len(body) % 2 else b"")


def wav_of(chunks: list[bytes]) -> bytes:
    """A WAV file of chunks, its size as it is."""
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pcm_chunks(samples: bytes, rate_hz: int, channels: int = 1) -> tuple[bytes, bytes]:
    """The `fmt ` and the `data` chunk of 16-bit samples."""
    head = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * 2 * channels, 2 * channels, 16)
    return chunk(b"fmt ", head), chunk(b"data", samples)


def mp3_in_wav(mp3: bytes, rate_hz: int, num_samples: int) -> bytes:
    """MP3 audio in a WAV file, as some recorders write it."""
    head = struct.pack("<HHIIHHHHIHHH", 0x55, 1, rate_hz, 4_000, 1, 0, 12, 1, 2, 576, 1, 0)
    return wav_of([chunk(b"fmt ", head), chunk(b"fact", struct.pack("<I", num_samples)), chunk(b"data", mp3)])


def damaged(content: bytes, rng: np.random.Generator, start: int, flips: int) -> bytes:
    """The bytes with some bits flipped after a place."""
    changed = bytearray(content)
    for position in rng.integers(start, len(content), flips):
        changed[position] ^= 1 << int(rng.integers(8))
    return bytes(changed)
