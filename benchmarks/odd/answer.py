"""What a command answers: its exit code, what it prints, and an exception that escaped it.

A command runs inside this process, so that hundreds take minutes, or as a process of its own, as users run it. What
it prints is taken at the file descriptors: warnings of C libraries are seen by users too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

COLUMNS = "400"
_START = "from w2v2_ray.cli.app import main; main()"


@dataclass(frozen=True)
class Answer:
    """How a command ended.

    Args:
        arguments: The command, without `w2v2-ray`.
        exit_code: None when it did not end in time.
        out: Standard output.
        err: Standard error.
        escaped: Traceback of an exception that nobody turned into a message.
        wall_s: Time that it took.
    """

    arguments: tuple[str, ...]
    exit_code: int | None
    out: str
    err: str
    escaped: str = ""
    wall_s: float = 0.0

    @property
    def said(self) -> str:
        """All that a user sees."""
        return f"{self.out}\n{self.err}"

    @property
    def message(self) -> str:
        """What it complains of: standard error without progress bars and empty lines."""
        lines = [line.rsplit("\r", 1)[-1].rstrip() for line in self.err.splitlines()]
        return "\n".join(line for line in lines if line and "━" not in line)


def run_inside(arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Answer:
    """Run a command in this process, in a folder."""
    from w2v2_ray.cli.app import main

    escaped, code, started_s = "", 0, time.monotonic()
    before, variables, here = list(sys.argv), dict(os.environ), Path.cwd()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            sys.argv[:] = ["w2v2-ray", *arguments]
            os.environ.update({"COLUMNS": COLUMNS, **(environment or {})})
            os.chdir(folder)
            with _redirected("stdout", 1, out), _redirected("stderr", 2, err):
                try:
                    main()
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else int(end.code is not None)
                except BaseException:  # whatever it is, a user would see its traceback
                    escaped, code = traceback.format_exc(), 1
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(variables)
            sys.argv[:] = before
        return Answer(tuple(arguments), code, _text(out), _text(err), escaped, time.monotonic() - started_s)


def run_command(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, limit_s: float = 120.0
) -> Answer:
    """Run a command as a process of its own, in a folder; one that takes too long is killed."""
    command = [sys.executable, "-c", _START, *arguments]
    variables = {**os.environ, "COLUMNS": COLUMNS, "OMP_NUM_THREADS": "1", **(environment or {})}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        # A session of its own, so that what it started can be ended with it.
        process = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=variables, start_new_session=True
        )
        code: int | None
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
            os.killpg(process.pid, 9)
            process.wait()
        return Answer(tuple(arguments), code, _text(out), _text(err))


@contextmanager
def _redirected(name: str, descriptor: int, file: IO[bytes]) -> Iterator[None]:
    """Lead a stream to a file: at its descriptor, and in Python, where another program may stand between them."""
    stream = getattr(sys, name)
    stream.flush()
    kept = os.dup(descriptor)
    os.dup2(file.fileno(), descriptor)
    try:
        with open(descriptor, "w", encoding="utf-8", closefd=False) as ours:
            setattr(sys, name, ours)
            yield
    finally:
        setattr(sys, name, stream)
        os.dup2(kept, descriptor)
        os.close(kept)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
