"""Whether an answer is right: the categories, and what every answer is held to, whatever it was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from odd.answer import Answer

_MOST_LINES = 60
_WARNING = re.compile(r"^\S+\.py:\d+: \w*Warning", re.MULTILINE)


class Category(StrEnum):
    """What an answer was."""

    RIGHT = "right success"
    REFUSED = "refused rightly"
    TRACEBACK = "traceback"
    SILENT_LOSS = "silent loss"
    WRONG_SUCCESS = "wrong success"
    HANG = "hang"
    REFUSED_WRONGLY = "refused wrongly"


FAULTS = (
    Category.TRACEBACK,
    Category.SILENT_LOSS,
    Category.WRONG_SUCCESS,
    Category.HANG,
    Category.REFUSED_WRONGLY,
)
"""What must not occur."""


@dataclass(frozen=True)
class Verdict:
    """A category and why."""

    category: Category
    why: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether the program is to blame."""
        return self.category in FAULTS


RIGHT = Verdict(Category.RIGHT)


def silent_loss(why: str) -> Verdict:
    """Something that was in the input is not in the result, and nobody was told."""
    return Verdict(Category.SILENT_LOSS, why)


def wrong_success(why: str) -> Verdict:
    """The result is not what the input says."""
    return Verdict(Category.WRONG_SUCCESS, why)


def trouble(answer: Answer) -> Verdict | None:
    """What no command may do, whatever it was given; None when it did none of it."""
    if answer.exit_code is None:
        return Verdict(Category.HANG, f"no answer in time; it said {answer.message[-200:]!r}")
    if answer.escaped or "Traceback (most recent call last)" in answer.said:
        lines = [line for line in (answer.escaped or answer.said).splitlines() if line.strip()]
        return Verdict(Category.TRACEBACK, lines[-1][:300])
    if _WARNING.search(answer.err):
        return Verdict(Category.TRACEBACK, f"a Python warning: {_WARNING.findall(answer.err)[0]}")
    if answer.exit_code not in (0, 1, 2):
        return Verdict(Category.TRACEBACK, f"exit code {answer.exit_code}")
    if answer.exit_code and not answer.message.strip():
        return Verdict(Category.TRACEBACK, f"exit code {answer.exit_code} without a word")
    if answer.exit_code and answer.message.count("\n") >= _MOST_LINES:
        return Verdict(Category.TRACEBACK, f"a message of {answer.message.count(chr(10)) + 1} lines")
    return None


def refused(answer: Answer, *, may: bool = True, naming: Sequence[str] = ()) -> Verdict:
    """Judge a refusal.

    Args:
        answer: One that is no `trouble`, with an exit code that is not 0.
        may: Whether the input could be refused at all.
        naming: Regular expressions of which the message must hold each.
    """
    shown = answer.message[-300:]
    if not may:
        return Verdict(Category.REFUSED_WRONGLY, shown)
    for pattern in naming:
        if not re.search(pattern, answer.said, re.IGNORECASE):
            return Verdict(Category.REFUSED_WRONGLY, f"the message does not name {pattern!r}: {shown}")
    return Verdict(Category.REFUSED, shown)


def told(answer: Answer, patterns: Sequence[str]) -> bool:
    """Whether a user was told: any of the regular expressions occurs in what was printed."""
    return any(re.search(pattern, answer.said, re.IGNORECASE) for pattern in patterns)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The first fault, else the first verdict."""
    return next((verdict for verdict in verdicts if verdict.is_fault), verdicts[0])
