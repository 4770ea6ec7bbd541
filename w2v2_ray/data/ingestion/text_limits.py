"""Which transcripts are kept: those that fit the audio they are said to be of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from w2v2_ray.audio.rejection import RejectReason, reject
from w2v2_ray.data.text import characters_per_s
from w2v2_ray.errors import DatasetError


@dataclass(frozen=True)
class TextLimits:
    """What a transcript must be; without any of these all are kept.

    Args:
        min_chars_per_s: Slower ones are rejected: most of the audio is not in them. Spaces do not count.
        max_chars_per_s: Faster ones are rejected: they are of other audio.
        symbols: Characters they may have, as between the brackets of a regular expression: `a-z '`.
        required: Reject what has no transcript, or an empty one.

    Raises:
        DatasetError: `symbols` cannot be read.
    """

    min_chars_per_s: float | None = None
    max_chars_per_s: float | None = None
    symbols: str | None = None
    required: bool = False

    def __post_init__(self) -> None:
        if self.symbols is not None:
            _outside(self.symbols)

    def check(self, transcript: str | None, num_samples: int) -> None:
        """Compare a transcript with its audio.

        Raises:
            AudioError: It is not kept.
        """
        if transcript is None or not transcript.strip():
            if self.required:
                raise reject(RejectReason.NO_TRANSCRIPT, "nothing says what is said (--require-text)")
            return
        rate = characters_per_s(transcript, num_samples)
        if self.max_chars_per_s is not None and rate > self.max_chars_per_s:
            raise reject(
                RejectReason.TEXT_TOO_LONG,
                f"{rate:.1f} characters a second, the limit is {self.max_chars_per_s:g} (--max-chars-per-s)",
            )
        if self.min_chars_per_s is not None and rate < self.min_chars_per_s:
            raise reject(
                RejectReason.TEXT_TOO_SHORT,
                f"{rate:.1f} characters a second, the limit is {self.min_chars_per_s:g} (--min-chars-per-s)",
            )
        if self.symbols is not None and (found := _outside(self.symbols).search(transcript)):
            raise reject(RejectReason.OTHER_SYMBOLS, f"the transcript has {found[0]!r} (--symbols)")


def _outside(symbols: str) -> re.Pattern[str]:
    try:
        return re.compile(f"[^{symbols}]")
    except re.error as error:
        raise DatasetError(
            f'--symbols {symbols!r}: is no set of characters ({error}); write it as "a-z \'", and \\- or \\] for '
            "those two"
        ) from None
