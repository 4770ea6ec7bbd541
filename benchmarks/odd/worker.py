"""Runs attempts in a process of its own, which is ended when one of them takes too long."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from odd.answer import Answer, run_command, run_inside
from odd.attempt import Attempt, judged
from odd.kinds import KINDS, schedule
from odd.verdict import Category, Verdict
from odd.workbench import Workbench

_WARM_UP_S = 180.0
_MARGIN_S = 30.0
_MEMORY_BYTES = 24 * 2**30
_APART_EVERY = 75


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt.

    Args:
        number: Which one.
        kind: Its kind.
        recipe: How its input was made.
        what: What was odd.
        verdict: How the answers were judged.
        commands: What was run.
        said: Exit codes and what was printed, for people.
        wall_s: Time that its commands took.
    """

    number: int
    kind: str
    recipe: str
    what: str
    verdict: Verdict
    commands: tuple[str, ...] = ()
    said: str = ""
    wall_s: float = 0.0


def outcomes(seed: int, numbers: list[int], kinds: tuple[str, ...], limit_s: float | None = None) -> Iterator[Outcome]:
    """Make and run attempts by their numbers; a worker that hangs is replaced.

    Args:
        seed: What all of them follow from.
        numbers: Which to run.
        kinds: Names of the kinds among which the numbers are shared out.
        limit_s: Time for each; None takes each attempt's own.
    """
    with tempfile.TemporaryDirectory(prefix="odd-inputs-") as name:
        worker: _Worker | None = None
        try:
            for number in numbers:
                worker = worker or _Worker(seed, kinds, Path(name))
                outcome = worker.outcome(number, limit_s)
                if outcome.verdict.category is Category.HANG and not worker.is_alive:
                    worker = None
                yield outcome
        finally:
            if worker is not None:
                worker.close()


class _Worker:
    """The process, as its parent sees it."""

    def __init__(self, seed: int, kinds: tuple[str, ...], root: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, seed, kinds, root), daemon=False)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(_WARM_UP_S):
            self.close()
            raise RuntimeError("the worker did not start")
        self._pipe.recv()

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.is_alive()

    def outcome(self, number: int, limit_s: float | None) -> Outcome:
        """Ask for one attempt and wait for it."""
        self._pipe.send(number)
        kind, recipe, what, own_limit_s = "", "", "", _MARGIN_S
        try:
            if self._pipe.poll(_MARGIN_S):
                kind, recipe, what, own_limit_s = self._pipe.recv()
                if self._pipe.poll((limit_s or own_limit_s) + _MARGIN_S):
                    outcome: Outcome = self._pipe.recv()
                    return outcome
            why = f"no answer within {limit_s or own_limit_s:g} s"
        except EOFError:
            self._process.join(_MARGIN_S)
            if self._process.exitcode == 1:  # an exception of the harness itself, printed above
                raise RuntimeError(f"attempt {number} could not be made or run") from None
            why = f"the process died (exit code {self._process.exitcode})"
        self.close()
        return Outcome(number, kind, recipe, what, Verdict(Category.HANG, why))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, seed: int, kinds: tuple[str, ...], root: Path) -> None:
    """What the process does: runs the attempts it is asked for."""
    # A process of its own group would outlive Ctrl-C; what it starts by itself has sessions of its own.
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bench = Workbench(root / "bench")
    bench.root.mkdir(exist_ok=True)
    _warm_up(bench)
    pipe.send("ready")
    while True:
        try:
            number = int(pipe.recv())
        except EOFError:
            return
        folder = root / f"{number}"
        folder.mkdir()
        try:
            pipe.send(_run(number, seed, kinds, folder, bench, pipe))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _warm_up(bench: Workbench) -> None:
    """Import what commands import when they run, so that the first attempts are not slower than the others."""
    import torch

    torch.set_num_threads(1)
    _ = bench.dataset
    run_inside(["transcribe", str(bench.recogniser), str(bench.speech)], bench.root)


def _run(number: int, seed: int, kinds: tuple[str, ...], folder: Path, bench: Workbench, pipe: Connection) -> Outcome:
    kind, place = schedule(number, kinds)
    recipes = KINDS[kind].recipes
    # Each seed has an order of its own, so that a few attempts of several seeds see different recipes.
    order = np.random.default_rng([seed, len(recipes)]).permutation(len(recipes))
    recipe = recipes[int(order[place % len(recipes)])]
    name = recipe.__name__.strip("_").replace("_", " ")
    rng = np.random.default_rng([seed, number])
    try:
        attempt = recipe(rng, folder, bench)
    except Exception as error:
        raise RuntimeError(f"attempt {number} ({kind}, {name}) could not be made") from error
    pipe.send((kind, name, attempt.what, attempt.limit_s * len(attempt.commands)))
    apart = attempt.apart or number % _APART_EVERY == _APART_EVERY - 1
    started_s = time.monotonic()
    answers = [_answer(attempt, command, folder, apart=apart) for command in attempt.commands]
    wall_s = time.monotonic() - started_s
    try:
        verdict = judged(attempt, answers)
    except Exception:  # an answer of a form that the judge does not know is no right one
        verdict = Verdict(Category.WRONG_SUCCESS, f"cannot be judged: {traceback.format_exc()[-400:]}")
    commands = tuple(" ".join(command) for command in attempt.commands)
    said = "\n".join(f"[exit {answer.exit_code}] {answer.said.strip()}\n{answer.escaped}".strip() for answer in answers)
    return Outcome(number, kind, name, attempt.what, verdict, commands, said[-6_000:], wall_s)


def _answer(attempt: Attempt, command: tuple[str, ...], folder: Path, *, apart: bool) -> Answer:
    environment: dict[str, Any] = attempt.environment
    if apart:
        return run_command(command, folder, environment, max(attempt.limit_s, 60.0))
    return run_inside(command, folder, environment)
