"""Pages of an Ogg file (RFC 3533): whether the last is there, and whether several recordings follow one another."""

from __future__ import annotations

from dataclasses import dataclass

from w2v2_ray.audio.containers.promise import Promise
from w2v2_ray.audio.containers.splice import Content
from w2v2_ray.audio.rejection import RejectReason, reject

_HEADER_BYTES = 27
_FIRST, _LAST = 0x02, 0x04
_NO_POSITION = (1 << 64) - 1
_OPUS_HZ = 48_000


@dataclass
class _Recording:
    """One link of a chain: the streams that begin together.

    Attributes:
        serial: Of its first stream.
        rate_hz: Of the positions; None where the codec is not known.
        skipped: Samples at its start that are not heard.
        position: Of the last page that has one.
        ended: Whether the page that is marked as the last one came.
        page: Number of the newest page of its first stream.
        lost: Pages whose numbers are left out.
    """

    serial: int
    rate_hz: int | None
    skipped: int
    position: int = 0
    ended: bool = False
    page: int | None = None
    lost: int = 0

    @property
    def duration_s(self) -> float | None:
        """Its length, where it can be told."""
        return None if not self.rate_hz else max(0, self.position - self.skipped) / self.rate_hz


def ogg_promise(content: Content) -> Promise | None:
    """Look through an Ogg file; None when it is none.

    Raises:
        AudioError: A page is missing, or several recordings were joined.
    """
    if content[:4] != b"OggS":
        return None
    recordings = _recordings(content)
    if len(recordings) > 1:
        first, whole = recordings[0].duration_s, [recording.duration_s for recording in recordings]
        lengths = ""
        if first is not None and None not in whole:
            lengths = f", the first of {first:.2f} s, together {sum(length or 0.0 for length in whole):.2f} s"
        raise reject(
            RejectReason.WRONG_HEADER,
            f"{len(recordings)} Ogg recordings are joined in one file{lengths}; split it, or convert it once more",
        )
    if not recordings or not recordings[0].ended:
        raise reject(RejectReason.TRUNCATED, "the last page of the Ogg stream is missing")
    if recordings[0].lost:
        length = recordings[0].duration_s
        of = "" if length is None else f" of a recording of {length:.2f} s"
        raise reject(RejectReason.TRUNCATED, f"{recordings[0].lost} pages{of} are missing from the Ogg stream")
    return Promise()


def _recordings(content: Content) -> list[_Recording]:
    found: list[_Recording] = []
    position, end, beginning = 0, len(content), False
    while position + _HEADER_BYTES <= end:
        header = content[position : position + _HEADER_BYTES]
        if header[:4] != b"OggS":
            position = _next_page(content, position + 1)
            continue
        table = content[position + _HEADER_BYTES : position + _HEADER_BYTES + header[26]]
        body = position + _HEADER_BYTES + len(table)
        following = body + sum(table)
        serial = int.from_bytes(header[14:18], "little")
        if header[5] & _FIRST:
            # Streams that begin one right after the other are heard together.
            if not beginning:
                found.append(_Recording(serial, *_positions(content[body : body + 32])))
            beginning = True
        else:
            beginning = False
        if found and serial == found[-1].serial and following <= end:
            granule = int.from_bytes(header[6:14], "little")
            page = int.from_bytes(header[18:22], "little")
            found[-1].lost += max(0, page - found[-1].page - 1) if found[-1].page is not None else 0
            found[-1].page = page
            found[-1].position = granule if granule != _NO_POSITION else found[-1].position
            found[-1].ended = found[-1].ended or bool(header[5] & _LAST)
        position = following
    return found


def _positions(packet: bytes) -> tuple[int | None, int]:
    """Rate of a stream's positions and samples to skip, from its first packet."""
    if packet[:8] == b"OpusHead":
        return _OPUS_HZ, int.from_bytes(packet[10:12], "little")
    if packet[:7] == b"\x01vorbis":
        return int.from_bytes(packet[12:16], "little"), 0
    return None, 0


def _next_page(content: Content, position: int) -> int:
    """The next place that looks like a page; the end of the file without one."""
    while position < len(content):
        found = content[position : position + 65_536].find(b"OggS")
        if found >= 0:
            return position + found
        position += 65_533  # a mark may lie across two pieces
    return len(content)
