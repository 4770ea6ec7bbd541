"""Files made of chunks with a name and a size: WAV (RIFF, RF64, W64), AIFF, CAF."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from w2v2_ray.audio.containers.mpeg import survey
from w2v2_ray.audio.containers.promise import Promise
from w2v2_ray.audio.containers.splice import Content
from w2v2_ray.audio.containers.streams import mpeg_promise
from w2v2_ray.audio.containers.tags import is_padding
from w2v2_ray.audio.rejection import RejectReason, reject

_UNKNOWN_BYTES = 0x7FFF_F000  # programs that write to a pipe put this or more as the size
_MAX_RIFF_BYTES = 0xFFFF_0000
_MPEG_FORMAT_TAGS = (0x50, 0x55)
_AFTER_AUDIO = {b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"fact", b"smpl", b"inst", b"iXML", b"PEAK", b"JUNK"}
"""Names of what often follows audio and may itself be cut."""
_AIFC_SAMPLES = {
    *(b"NONE", b"sowt", b"twos", b"raw ", b"in24", b"in32"),
    *(b"fl32", b"FL32", b"fl64", b"FL64", b"ulaw", b"alaw", b"ULAW", b"ALAW"),
}
"""Encodings of one sample each; the others count packets."""


@dataclass(frozen=True)
class _Layout:
    """How chunks are written.

    Attributes:
        first: Offset of the first chunk.
        header: Of a chunk, for `struct`: name and size.
        alignment: Of chunks.
        audio: Name of the chunk of samples.
        prefix_bytes: In that chunk before the samples.
        counts_header: Whether a size counts the chunk's header.
        unknown_bytes: From where on a size means that it is not known.
    """

    first: int
    header: str
    alignment: int
    audio: bytes
    prefix_bytes: int = 0
    counts_header: bool = False
    unknown_bytes: int = _UNKNOWN_BYTES


_RIFF = _Layout(12, "<4sI", 2, b"data")
_LAYOUTS = {
    b"RIFF": _RIFF,
    b"RIFX": _Layout(12, ">4sI", 2, b"data"),
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"FORM": _Layout(12, ">4sI", 2, b"SSND", prefix_bytes=8),
    b"caff": _Layout(8, ">4sq", 1, b"data", prefix_bytes=4, unknown_bytes=1 << 62),
    b"riff": _Layout(40, "<4s12xQ", 8, b"data", counts_header=True, unknown_bytes=1 << 62),
}


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    start: int
    size: int
    unpadded: bool = False


def chunk_promise(content: Content) -> Promise | None:
    """Look through a file of chunks; None when it is none.

    Raises:
        AudioError: It has less audio than it says, or none.
    """
    magic = content[:4]
    layout = _LAYOUTS.get(magic)
    if layout is None or (magic.startswith((b"RIF", b"RF", b"BW")) and content[8:12] != b"WAVE"):
        return None
    end = len(content)
    chunks = list(_until_audio(content, layout))
    if not chunks or chunks[-1].name != layout.audio:
        raise reject(RejectReason.TRUNCATED, "the header is there, the audio is not")
    audio = chunks[-1]
    said = _said_bytes(content, layout, chunks)
    start = audio.start + layout.prefix_bytes
    if said is None or (said == 0 and _stray_bytes(content, layout, start) > 0):
        said, size_is_known = max(0, end - start), False
    else:
        size_is_known = True
    if start + said > end:
        raise reject(
            RejectReason.TRUNCATED, f"the header says {said} bytes of audio, the file has {max(0, end - start)}"
        )
    form = next((chunk for chunk in chunks if chunk.name == b"fmt "), None)
    if layout is _RIFF and form is not None:
        if int.from_bytes(content[form.start : form.start + 2], "little") in _MPEG_FORMAT_TAGS:
            found = survey(content, start, start + said)
            if found is not None:
                return mpeg_promise(content, found)
        unpadded = any(chunk.unpadded for chunk in chunks)
        if (not size_is_known or unpadded) and said < _MAX_RIFF_BYTES:
            return _rebuilt(content, form, start, said, layout if size_is_known else None)
    stray = _stray_bytes(content, layout, _aligned(start + said, layout)) if size_is_known else 0
    frames = _aiff_frames(content, chunks) if magic == b"FORM" else None
    if magic == b"caff" and not size_is_known:
        place = audio.start - 8
        size = (said + layout.prefix_bytes).to_bytes(8, "big")
        return Promise(parts=[(0, place), size, (place + 8, end - place - 8)], audio_bytes=said)
    # What follows is kept from the decoder: some read on into it, some refuse the file for it.
    parts = [(0, start + said)] if stray else None
    return Promise(parts=parts, audio_bytes=said, stray_bytes=stray, frames=frames)


def _rebuilt(content: Content, form: _Chunk, start: int, said: int, layout: _Layout | None) -> Promise:
    """A WAV file of nothing but its format and its samples, with the right sizes."""
    fields = content[form.start : form.start + form.size]
    fields += bytes(len(fields) % 2)
    head = b"WAVEfmt " + struct.pack("<I", len(fields)) + fields + b"data" + struct.pack("<I", said)
    stray = _stray_bytes(content, layout, _aligned(start + said, layout)) if layout is not None else 0
    return Promise(
        parts=[b"RIFF" + struct.pack("<I", len(head) + said) + head, (start, said)],
        audio_bytes=said,
        stray_bytes=stray,
    )


def _until_audio(content: Content, layout: _Layout) -> Iterator[_Chunk]:
    """The chunks up to the one of samples."""
    position = layout.first
    head_bytes = struct.calcsize(layout.header)
    unpadded = False
    while position + head_bytes <= len(content):
        name, size = struct.unpack(layout.header, content[position : position + head_bytes])
        if layout.counts_header:
            size = max(0, size - head_bytes)
        yield _Chunk(name, position + head_bytes, size, unpadded)
        if name == layout.audio or size < 0:
            return
        following = _aligned(position + head_bytes + size, layout)
        padded = following != position + head_bytes + size
        # Some programs leave out the byte that fills up an odd chunk.
        if (
            padded
            and not _is_name(content[following : following + 4])
            and _is_name(content[following - 1 : following + 3])
        ):
            following, unpadded = following - 1, True
        position = following


def _said_bytes(content: Content, layout: _Layout, chunks: list[_Chunk]) -> int | None:
    """Bytes of samples as the header says; None when it does not."""
    audio = chunks[-1]
    wide = next((chunk for chunk in chunks if chunk.name == b"ds64"), None)
    if wide is not None and audio.size >= _UNKNOWN_BYTES:
        size = int.from_bytes(content[wide.start + 8 : wide.start + 16], "little")
        return None if size >= 1 << 62 else size
    if audio.size < 0 or audio.size >= layout.unknown_bytes:
        return None
    return max(0, audio.size - layout.prefix_bytes)


def _stray_bytes(content: Content, layout: _Layout, position: int) -> int:
    """Bytes from a place to the end of the file that are neither chunks nor tags nor padding."""
    head_bytes = struct.calcsize(layout.header)
    end = len(content)
    while position + head_bytes <= end:
        name, size = struct.unpack(layout.header, content[position : position + head_bytes])
        if not _is_name(name) or name in (layout.audio, *_LAYOUTS):
            break
        if layout.counts_header:
            size -= head_bytes
        following = _aligned(position + head_bytes + size, layout)
        if size < 0 or (following > end + layout.alignment and name not in _AFTER_AUDIO):
            break
        position = following
    if position >= end or is_padding(content, position):
        return 0
    return end - position


def _aligned(position: int, layout: _Layout) -> int:
    return -(-position // layout.alignment) * layout.alignment


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _aiff_frames(content: Content, chunks: list[_Chunk]) -> int | None:
    """Samples per channel in the common chunk; programs that write to a pipe put 0 or a huge number."""
    common = next((chunk for chunk in chunks if chunk.name == b"COMM"), None)
    if common is None or content[8:12] not in (b"AIFF", b"AIFC"):
        return None
    if content[8:12] == b"AIFC" and content[common.start + 18 : common.start + 22] not in _AIFC_SAMPLES:
        return None
    frames = int.from_bytes(content[common.start + 2 : common.start + 6], "big")
    return frames if 0 < frames < _UNKNOWN_BYTES // 8 else None
