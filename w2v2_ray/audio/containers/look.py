"""Looking at a file before it is decoded."""

from __future__ import annotations

import mmap
from functools import lru_cache
from pathlib import Path

from w2v2_ray.audio.containers.chunks import chunk_promise
from w2v2_ray.audio.containers.ogg import ogg_promise
from w2v2_ray.audio.containers.promise import Promise
from w2v2_ray.audio.containers.streams import au_promise, flac_promise, mpeg_file_promise, sphere_promise
from w2v2_ray.audio.rejection import RejectReason, reject
from w2v2_ray.audio.suffixes import CONVERTIBLE_SUFFIXES
from w2v2_ray.errors import AudioError
from w2v2_ray.impostors import impostor_in

_FOREIGN = (
    (4, b"ftyp", "MP4/M4A"),
    (0, b"\x1a\x45\xdf\xa3", "WebM/Matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"#!AMR", "AMR"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"FLV", "FLV"),
    (0, b"OggS", "Ogg with FLAC, Speex or video"),
)
"""Offset and first bytes of what other programs can decode."""
_ZIP = b"PK\x03\x04"
_LOOKS = (chunk_promise, ogg_promise, flac_promise, au_promise, sphere_promise)


def look(path: Path) -> Promise | None:
    """Find out what a file says of itself; None when its kind is not known here.

    MPEG audio, which has no mark, is looked at by `look_at_mpeg`.

    Raises:
        AudioError: It is empty, or has other audio than it says.
        OSError: It cannot be read.
    """
    return _looked(path, is_mpeg=False)


def look_at_mpeg(path: Path) -> Promise | None:
    """Count the frames of MPEG audio; None when there are none.

    Raises:
        AudioError: It has less audio than it says.
        OSError: It cannot be read.
    """
    return _looked(path, is_mpeg=True)


def _looked(path: Path, *, is_mpeg: bool) -> Promise | None:
    status = path.stat()
    if not status.st_size:
        raise reject(RejectReason.EMPTY, "the file has 0 bytes")
    found = _remembered(path, status.st_size, status.st_mtime_ns, is_mpeg)
    if isinstance(found, str):
        raise AudioError(found)
    return found


@lru_cache(maxsize=32)
def _remembered(path: Path, num_bytes: int, modified_ns: int, is_mpeg: bool) -> Promise | str | None:
    """A promise, or the words of an error. Remembered, because a manifest may name a thousand parts of one file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            if is_mpeg:
                return mpeg_file_promise(content)
            return next((promise for one in _LOOKS if (promise := one(content)) is not None), None)
        except AudioError as error:
            return error.message


def may_be_media(path: Path) -> bool:
    """Whether a file that libsndfile does not know is one that FFmpeg may read, by its first bytes or its name."""
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(_ZIP) or impostor_in(head):
        return False
    marked = any(head[offset:].startswith(mark) for offset, mark, _ in _FOREIGN)
    return marked or path.suffix.lower() in CONVERTIBLE_SUFFIXES


def what_it_is(path: Path) -> str:
    """Words for a file that is not known as audio, with the way out; empty when it is not known at all."""
    with path.open("rb") as file:
        head = file.read(64)
    for offset, mark, name in _FOREIGN:
        if head[offset:].startswith(mark):
            return (
                f"{name}: pip install 'w2v2-ray[media]' to read it, or convert it with "
                f"`ffmpeg -i {path.name} -ac 1 -ar 16000 {path.stem}.flac`"
            )
    if head.startswith(_ZIP):
        return "a ZIP archive; unpack it"
    return impostor_in(head) or ""
