"""One input, the commands that are given it, and how their answers are judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from odd.answer import Answer
from odd.verdict import Category, Verdict, trouble
from odd.workbench import Workbench

Judge = Callable[[Sequence[Answer]], Verdict]


@dataclass(frozen=True)
class Attempt:
    """An input that has been written to a folder.

    Args:
        what: What is odd about it, for people.
        commands: What is run, in this order, in that folder.
        judge: Judges the answers; those of commands that were troubled already do not reach it.
        environment: Variables for the commands.
        apart: Each command must be a process of its own.
        limit_s: Time for each command.
    """

    what: str
    commands: tuple[tuple[str, ...], ...]
    judge: Judge
    environment: dict[str, str] = field(default_factory=dict)
    apart: bool = False
    limit_s: float = 30.0


Recipe = Callable[[np.random.Generator, Path, Workbench], Attempt]
"""Writes an odd input to a folder; everything random in it comes from the generator."""


@dataclass(frozen=True)
class Kind:
    """Inputs of one sort.

    Args:
        name: What they are.
        weight: How many of them there are for one of another sort.
        recipes: Ways to be odd, which take turns.
    """

    name: str
    weight: int
    recipes: tuple[Recipe, ...]


def judged(attempt: Attempt, answers: Sequence[Answer]) -> Verdict:
    """The verdict on an attempt."""
    for answer in answers:
        found = trouble(answer)
        if found is None and answer.wall_s > attempt.limit_s:
            found = Verdict(Category.HANG, f"{answer.wall_s:.0f} s for `{answer.arguments[0]}` of so little")
        if found is not None:
            return found
    return attempt.judge(answers)


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """One of several texts."""
    return choices[int(rng.integers(len(choices)))]
