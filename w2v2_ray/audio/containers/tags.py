"""Tags that programs put before and after audio of any kind: ID3, APE, Lyrics3."""

from __future__ import annotations

from w2v2_ray.audio.containers.splice import Content

_ID3_HEADER_BYTES = 10
_ID3V1_BYTES = 128
_APE_HEADER_BYTES = 32
_NAMES = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")


def after_tags(content: Content, position: int) -> int:
    """The place behind the tags that begin at a place; that place itself where none does."""
    while (following := _after_tag(content, position)) > position:
        position = following
    return min(position, len(content))


def is_padding(content: Content, start: int) -> bool:
    """Whether all from a place to the end of the file is zeros or tags."""
    position = after_tags(content, start)
    rest = content[position : position + len(_NAMES[2])]
    if rest.startswith(_NAMES):
        return True
    return not content[position:].strip(b"\0")


def _after_tag(content: Content, position: int) -> int:
    head = content[position : position + _APE_HEADER_BYTES]
    if head[:3] == b"ID3" and len(head) >= _ID3_HEADER_BYTES:
        # Seven bits a byte (ID3v2, section 3.1).
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return position + _ID3_HEADER_BYTES + size
    if head[:3] == b"TAG":
        return position + _ID3V1_BYTES
    if head[:8] == b"APETAGEX" and len(head) == _APE_HEADER_BYTES:
        # The size counts the footer, not the header (APEv2).
        return position + int.from_bytes(head[12:16], "little") + _APE_HEADER_BYTES
    if head[:11] == b"LYRICSBEGIN":
        end = content[position : position + 65_536].find(b"LYRICS200")
        return position + end + len(b"LYRICS200") if end >= 0 else position
    return position
