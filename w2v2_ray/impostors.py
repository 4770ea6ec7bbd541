"""Files that are not what their name says: Git LFS pointers, web pages, archives."""

from __future__ import annotations

from pathlib import Path

_LOOK_BYTES = 512
_COMPRESSED = {
    b"\x1f\x8b": "gzip (gunzip it)",
    b"BZh": "bzip2 (bunzip2 it)",
    b"\xfd7zXZ\x00": "xz (unxz it)",
    b"(\xb5/\xfd": "zstd (unzstd it)",
    b"7z\xbc\xaf": "7z (unpack it)",
    b"Rar!": "rar (unpack it)",
}


def impostor(path: Path) -> str | None:
    """Say what a file is instead of what it should be, with the remedy; None when it is no known stand-in.

    Args:
        path: A file that could not be used, or is about to be read.
    """
    if path.is_dir():
        return "a folder, where a file was expected"
    try:
        with path.open("rb") as file:
            head = file.read(_LOOK_BYTES)
    except OSError:
        return None
    return impostor_in(head)


def impostor_in(head: bytes) -> str | None:
    """The same of a file's first bytes."""
    if not head:
        return "an empty file; copy or download it again"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself; run `git lfs pull` where it was cloned"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "an HTML page, not the file; the download went wrong (a login page, or a link to a page?)"
    if text.startswith((b'{"error', b'{"message', b'{"detail')):
        return "the error message of a server, not the file; download it again"
    return next((f"packed with {name}" for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)
