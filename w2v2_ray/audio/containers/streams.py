"""Files that are one stream behind a short header, or none: AU, NIST SPHERE, FLAC, MPEG."""

from __future__ import annotations

import re
import struct

from w2v2_ray.audio.containers.mpeg import Survey, survey, whole_stream
from w2v2_ray.audio.containers.promise import Parts, Promise
from w2v2_ray.audio.containers.splice import Content, find_through
from w2v2_ray.audio.containers.tags import after_tags, is_padding
from w2v2_ray.audio.rejection import RejectReason, reject

_AU_MAGIC = {b".snd": ">", b"dns.": "<"}
_AU_UNKNOWN_BYTES = 0xFFFF_FFFF
_STREAM_INFO_BYTES = 38
_ID3V1_BYTES = 128
_FLAC_LENGTH = (1 << 36) - 1
_MPEG_SLACK_FRAMES = 2  # encoders count the first frame, and one that is not whole, in different ways
_LAYER_WITH_INFO = 3  # decoders look for a first frame that says the length in this layer alone
_MAX_LOST_BYTES = 2_000  # the largest frame has 1 729


def au_promise(content: Content) -> Promise | None:
    """Look at an AU (.snd) file; None when it is none.

    Raises:
        AudioError: It has less audio than it says.
    """
    order = _AU_MAGIC.get(content[:4])
    if order is None or len(content) < 24:
        return None
    start, said = struct.unpack(f"{order}II", content[4:12])
    found = max(0, len(content) - start)
    if said == _AU_UNKNOWN_BYTES:
        return Promise(audio_bytes=found)
    if said > found:
        raise reject(RejectReason.TRUNCATED, f"the header says {said} bytes of audio, the file has {found}")
    return Promise(audio_bytes=said, stray_bytes=0 if is_padding(content, start + said) else found - said)


def sphere_promise(content: Content) -> Promise | None:
    """Look at a NIST SPHERE file; None when it is none."""
    if content[:7] != b"NIST_1A":
        return None
    count = re.search(rb"^sample_count -i (\d+)\s*$", content[:4096], re.MULTILINE)
    return Promise(frames=int(count[1])) if count else Promise()


def flac_promise(content: Content) -> Promise | None:
    """Look at a FLAC file; None when it is none.

    The decoder gets it without the length that its header says, so that it goes on to the true end.

    Raises:
        AudioError: Another one was joined to it.
    """
    start = after_tags(content, 0)
    info = content[start : start + 4 + _STREAM_INFO_BYTES]
    if info[:4] != b"fLaC" or len(info) < 4 + _STREAM_INFO_BYTES:
        return None
    # Of 64 bits that begin 10 bytes into the STREAMINFO block's body, the last 36 are the length (RFC 9639, 8.2).
    place = start + 18
    fields = int.from_bytes(info[18:26], "big")
    frames = fields & _FLAC_LENGTH
    end = len(content)
    if content[end - _ID3V1_BYTES : end - _ID3V1_BYTES + 3] == b"TAG":
        end -= _ID3V1_BYTES  # the decoder would look for a frame there
    second = find_through(content, b"fLaC\0\0\0\x22", start + 4)
    if second >= 0:
        rate_hz = max(1, fields >> 44)
        more = int.from_bytes(content[second + 18 : second + 26], "big") & _FLAC_LENGTH
        raise reject(
            RejectReason.WRONG_HEADER,
            f"behind a FLAC file of {frames / rate_hz:.3f} s another of {more / rate_hz:.3f} s is joined; split them",
        )
    parts: Parts = [(start, place - start), (fields - frames).to_bytes(8, "big"), (place + 8, end - place - 8)]
    return Promise(parts=parts, frames=frames, decode_on=True)


def mpeg_file_promise(content: Content) -> Promise | None:
    """Look through an MPEG audio file (MP3); None when no frames are found.

    Raises:
        AudioError: It has less audio than it says, or is damaged.
    """
    found = survey(content, 0, len(content))
    return mpeg_promise(content, found) if found is not None else None


def mpeg_promise(content: Content, found: Survey) -> Promise:
    """Judge MPEG frames that were counted.

    Raises:
        AudioError: They are fewer than promised, damaged, or of several formats.
    """
    if len(found.formats) > 1:
        kinds = " and ".join(f"{rate_hz} Hz with {channels} channels" for rate_hz, channels in sorted(found.formats))
        raise reject(RejectReason.WRONG_HEADER, f"its format changes on the way: {kinds}; split the file there")
    frame_s = found.samples / found.frames / next(iter(found.formats))[0]
    promised = found.header_frames
    if promised is not None and promised > found.frames + _MPEG_SLACK_FRAMES * found.recordings:
        raise reject(
            RejectReason.TRUNCATED,
            f"the header says {promised} frames ({promised * frame_s:.2f} s), "
            f"the file has {found.frames} ({found.frames * frame_s:.2f} s)",
        )
    if found.lost_bytes > _MAX_LOST_BYTES:
        raise reject(
            RejectReason.UNREADABLE,
            f"{found.lost_bytes} bytes among {found.frames} frames ({found.frames * frame_s:.2f} s) are no audio",
        )
    if promised is not None and found.recordings == 1 and abs(promised - found.frames) <= 1 and len(found.spans) == 1:
        return Promise()
    if found.layer != _LAYER_WITH_INFO:
        return Promise(frames=found.samples)
    return Promise(parts=whole_stream(content, found))
