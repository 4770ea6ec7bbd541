"""Why audio is left out."""

from __future__ import annotations

from enum import StrEnum

from w2v2_ray.errors import AudioError


class RejectReason(StrEnum):
    """Why a file is left out; the first word of the `AudioError`."""

    MISSING = "missing"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    WRONG_HEADER = "wrong_header"
    TRUNCATED = "truncated"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    SATURATED = "saturated"
    SILENT = "silent"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    BAD_TRANSCRIPT = "bad_transcript"
    NOT_AS_LISTED = "not_as_listed"
    NO_TRANSCRIPT = "no_transcript"
    TEXT_TOO_LONG = "text_too_long"
    TEXT_TOO_SHORT = "text_too_short"
    OTHER_SYMBOLS = "other_symbols"
    COPY = "copy"


FILTERS = frozenset(
    (
        RejectReason.NO_TRANSCRIPT,
        RejectReason.TEXT_TOO_LONG,
        RejectReason.TEXT_TOO_SHORT,
        RejectReason.OTHER_SYMBOLS,
        RejectReason.COPY,
    )
)
"""Reasons that a user asked for: they say nothing about the state of the source."""


def reject(reason: RejectReason, detail: str) -> AudioError:
    """The error for a file that is left out."""
    return AudioError(f"{reason}: {detail}")
