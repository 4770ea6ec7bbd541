"""Frames of an MPEG audio file (MP3), counted one by one.

The length of such a file stands nowhere but in an optional first frame (Xing, Info); without it decoders guess from the
first frame's bit rate, which is wrong wherever the rate varies (ISO/IEC 11172-3, section 2.4.2.3).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

from w2v2_ray.audio.containers.promise import Parts
from w2v2_ray.audio.containers.splice import Content
from w2v2_ray.audio.containers.tags import after_tags

_BIT_RATES_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By version (1, or 2 and 2.5) and layer."""
_RATES_HZ = (44_100, 48_000, 32_000)
_HEADER_BYTES = 4
_COUNT_FLAG, _BYTES_FLAG = 0x1, 0x2
_SEARCH_BYTES = 65_536


@dataclass(frozen=True)
class Frame:
    """What a frame's header says.

    Attributes:
        rate_hz: Sample rate.
        channels: 1 or 2.
        samples: Per channel.
        num_bytes: Of the frame, header included.
        side_bytes: Between the header and where a Xing frame's name stands.
        layer: 1, 2 or 3.
    """

    rate_hz: int
    channels: int
    samples: int
    num_bytes: int
    side_bytes: int
    layer: int


@dataclass(frozen=True)
class Survey:
    """What a file holds.

    Attributes:
        spans: Where its frames of audio lie: (offset, length), each of frames without a gap.
        frames: Frames of audio.
        header_frames: Frames that a Xing, Info or VBRI frame promises, of all the recordings in the file; None when
            one of them has none.
        samples: Per channel, those that an encoder added included.
        formats: Rates in Hz with numbers of channels that occur.
        lost_bytes: Between frames, belonging to nothing that is known.
        recordings: Files that were joined, as far as their first frames tell.
        layer: 1, 2 or 3.
    """

    spans: tuple[tuple[int, int], ...]
    frames: int
    header_frames: int | None
    samples: int
    formats: frozenset[tuple[int, int]]
    lost_bytes: int
    recordings: int
    layer: int


@lru_cache(maxsize=4096)
def frame_at(header: bytes) -> Frame | None:
    """Read a frame's header of four bytes; None when it is none, or of free bit rate."""
    word = int.from_bytes(header, "big")
    version_bits, layer_bits = (word >> 19) & 3, (word >> 17) & 3
    rate_index, bit_rate_index = (word >> 10) & 3, (word >> 12) & 15
    if word >> 21 != 0x7FF or version_bits == 1 or layer_bits == 0 or rate_index == 3 or bit_rate_index in (0, 15):
        return None
    first_version, layer = version_bits == 3, 4 - layer_bits
    rate_hz = _RATES_HZ[rate_index] >> {3: 0, 2: 1, 0: 2}[version_bits]
    bits_per_s = _BIT_RATES_KBPS[1 if first_version else 2, layer][bit_rate_index - 1] * 1000
    samples = 384 if layer == 1 else 1152 if layer == 2 or first_version else 576
    padding = (word >> 9) & 1
    if layer == 1:
        num_bytes = (12 * bits_per_s // rate_hz + padding) * 4
    else:
        num_bytes = samples // 8 * bits_per_s // rate_hz + padding
    channels = 1 if (word >> 6) & 3 == 3 else 2
    side_bytes = (17 if channels == 1 else 32) if first_version else (9 if channels == 1 else 17)
    return Frame(rate_hz, channels, samples, num_bytes, side_bytes, layer)


def survey(content: Content, start: int, end: int) -> Survey | None:
    """Count the frames between two places of a file; None when there are none that a next one confirms."""
    position, pending_bytes, lost_bytes = after_tags(content, start), 0, 0
    spans: list[tuple[int, int]] = []
    frames = samples = 0
    promises: list[int | None] = []
    formats: set[tuple[int, int]] = set()
    in_sync, layer = False, 0
    while position + _HEADER_BYTES <= end:
        frame = _frame(content, position, end, confirmed=in_sync)
        in_sync = frame is not None
        if frame is None:
            following = _next_sync(content, position, end)
            pending_bytes += _unknown_bytes(content, position, following) if spans or promises else 0
            position = following
            continue
        lost_bytes, pending_bytes = lost_bytes + pending_bytes, 0
        is_info, promised = _info_of(content, position, frame)
        if is_info:
            promises.append(promised)
        elif position + frame.num_bytes <= end:
            if spans and sum(spans[-1]) == position:
                spans[-1] = (spans[-1][0], spans[-1][1] + frame.num_bytes)
            else:
                spans.append((position, frame.num_bytes))
            promises = promises or [None]
            frames, layer = frames + 1, frame.layer
            samples += frame.samples
            formats.add((frame.rate_hz, frame.channels))
        position += frame.num_bytes
    if not frames:
        return None
    known = [promise for promise in promises if promise]
    header_frames = sum(known) if len(known) == len(promises) else None
    return Survey(tuple(spans), frames, header_frames, samples, frozenset(formats), lost_bytes, len(promises), layer)


def whole_stream(content: Content, found: Survey) -> Parts:
    """The frames of audio alone, behind a first frame that says how many they are."""
    first = found.spans[0][0]
    header = content[first : first + _HEADER_BYTES]
    # The largest frame of the format has room for the fields, whatever the bit rate of the first.
    largest = bytes([header[0], header[1] | 1, (header[2] & 0x0C) | 0xE0, header[3]])
    frame = frame_at(largest)
    assert frame is not None
    num_bytes = frame.num_bytes + sum(length for _, length in found.spans)
    fields = b"Info" + struct.pack(">III", _COUNT_FLAG | _BYTES_FLAG, found.frames, min(num_bytes, 0xFFFF_FFFF))
    body = largest + bytes(frame.side_bytes) + fields
    return [body + bytes(frame.num_bytes - len(body)), *found.spans]


def _frame(content: Content, position: int, end: int, *, confirmed: bool) -> Frame | None:
    """The frame at a place; where sync was just found, the one after it must agree."""
    frame = frame_at(content[position : position + _HEADER_BYTES])
    if frame is None or confirmed:
        return frame
    following = position + frame.num_bytes
    if following + _HEADER_BYTES > end:
        return frame if following <= end else None
    after = frame_at(content[following : following + _HEADER_BYTES])
    return frame if after is not None and after.rate_hz == frame.rate_hz else None


def _next_sync(content: Content, position: int, end: int) -> int:
    """The next place that a frame may begin at."""
    behind = after_tags(content, position)
    if behind > position:
        return min(behind, end)
    stop = min(end, position + _SEARCH_BYTES)
    place = content[position + 1 : stop].find(b"\xff")
    return position + 1 + place if place >= 0 else stop


def _unknown_bytes(content: Content, start: int, stop: int) -> int:
    """Bytes between two places that are neither a tag nor padding."""
    if after_tags(content, start) >= stop:
        return 0
    return len(content[start:stop].strip(b"\0"))


def _info_of(content: Content, position: int, frame: Frame) -> tuple[bool, int | None]:
    """Whether a frame holds no audio but the length of the file, and the frames it promises."""
    start = position + _HEADER_BYTES + frame.side_bytes
    name = content[start : start + 4]
    if name in (b"Xing", b"Info"):
        flags, count = struct.unpack(">II", content[start + 4 : start + 12].ljust(8, b"\0"))
        return True, count if flags & _COUNT_FLAG else None
    start = position + _HEADER_BYTES + 32
    if content[start : start + 4] == b"VBRI":
        return True, int.from_bytes(content[start + 14 : start + 18], "big")
    return False, None
