"""Names of files that hold sound."""

from __future__ import annotations

from pathlib import Path

from w2v2_ray.audio.media_file import INSTALL

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".opus", ".oga", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64"),
    *(".rf64", ".wave", ".bwf", ".sph", ".nist", ".mp2", ".mpga", ".voc"),
)
"""Of files that libsndfile decodes."""
CONVERTIBLE_SUFFIXES = frozenset(
    (
        *(".m4a", ".m4b", ".m4v", ".mp4", ".mov", ".3gp", ".3gpp", ".3ga", ".aac", ".adts", ".alac", ".webm", ".weba"),
        *(".mka", ".mkv", ".wma", ".wmv", ".asf", ".amr", ".awb", ".avi", ".flv", ".mpg", ".mpeg", ".ogv", ".spx"),
        *(
            ".ac3",
            ".eac3",
            ".ape",
            ".wv",
            ".tta",
            ".mpc",
            ".ra",
            ".rm",
            ".dsf",
            ".dff",
            ".qcp",
            ".g729",
            ".gsm",
            ".shn",
        ),
    )
)
"""Of files that hold sound, but in a form that libsndfile does not decode."""


def conversion_hint(path: Path) -> str:
    """What to do about a file that cannot be decoded, where its suffix tells; empty otherwise."""
    if path.suffix.lower() not in CONVERTIBLE_SUFFIXES:
        return ""
    return f'; {INSTALL} to read it, or convert it: ffmpeg -i "{path.name}" -ac 1 -ar 16000 "{path.stem}.flac"'
