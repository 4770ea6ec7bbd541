"""What is written for a run, by whichever worker it is up to: logs, events, and the keeping of states.

In a crew that changes, whoever finds itself the leader takes the desk over: it takes the run from the one before it,
which may still be writing, and writes down what that one knew and had not written yet. Every worker remembers enough
for that; nothing is computed again.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.logging import LoggingSpec
from w2v2_ray.training.checkpointer import Checkpointer
from w2v2_ray.training.crews.crew import Crew
from w2v2_ray.training.recorder import Recorder

REMEMBERED = 1000
"""Log lines that every worker remembers."""


class Desk:
    """One worker's access to what is written for all.

    Args:
        run: The run's folder.
        spec: What to log.
        crew: Says who leads.
        checkpoints: Saves states; opened here.
    """

    def __init__(self, run: RunFolder, spec: LoggingSpec, crew: Crew, checkpoints: Checkpointer) -> None:
        self._run = run
        self._spec = spec
        self._crew = crew
        self._checkpoints = checkpoints
        self._closing = contextlib.ExitStack()
        self._fence: Fence | None = None
        self._before_commit: Callable[[], object] = lambda: None
        self._taken = False
        self._recorder: Recorder | None = None
        self._records: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._samples: deque[tuple[int, list[tuple[int, str]]]] = deque(maxlen=REMEMBERED)
        self._validation: tuple[int, dict[str, float]] | None = None

    def open(self) -> Fence:
        """Take the run over from earlier attempts, before anything of it is read. On workers that write."""
        if self._fence is None:
            self._fence = self._crew.fence(self._run.notes)
            if self._crew.leads:
                self._before_commit = self._closing.enter_context(self._run.follow(self._fence))
        return self._fence

    def take(self, update: int, *, beginning: bool = False) -> None:
        """See that this worker writes if it is up to it; does nothing where it does already, or need not.

        Args:
            update: The last one that is behind the run.
            beginning: All workers begin together; nobody else was writing.
        """
        if self._taken or not self._crew.writes:
            return
        self._taken = True
        fence = self.open()
        self._checkpoints.open(fence, update, self._before_commit)
        self._open_recorder(update)
        if not beginning:
            self._checkpoints.take_over(update)
            self._make_up(update)

    def _open_recorder(self, update: int) -> None:
        if self._crew.leads:
            self._recorder = Recorder(self._run, self._spec, update, self.open())

    def _make_up(self, update: int) -> None:
        """Write what the leader before this one has not."""
        assert self._recorder is not None
        written = max((int(record["update"]) for record in read_lines(self._run.metrics)), default=0)
        for record in self._records:
            if written < record["update"] <= update:
                self._recorder.metrics(record)
        if self._spec.trace_samples:
            traced = max((int(record["update"]) for record in read_lines(self._run.samples)), default=0)
            for at, used in self._samples:
                if traced < at <= update:
                    self._recorder.samples(at, used)
        if self._validation is not None:
            at, figures = self._validation
            if not any(e["event"] == "validation" and e["update"] == at for e in read_lines(self._run.events)):
                self.validation(at, figures)

    def metrics(self, record: dict[str, Any]) -> None:
        """Log an update's figures.

        Raises:
            SupersededError: When a newer attempt has the run.
        """
        self._records.append(record)
        if self._recorder is not None:
            self._recorder.metrics(record)

    def validation(self, update: int, figures: dict[str, float]) -> None:
        """Log held-out figures."""
        self._validation = (update, figures)
        if self._recorder is not None:
            with contextlib.suppress(OSError):
                self._recorder.validation(update, figures)

    def samples(self, update: int, used: list[tuple[int, str]]) -> None:
        """Log which utterances an update used."""
        self._samples.append((update, used))
        if self._recorder is not None:
            self._recorder.samples(update, used)

    def rewind(self, update: int) -> None:
        """Forget what was logged after an update, which the run goes back to, and states after it."""
        self._records.clear()
        self._samples.clear()
        self._validation = None
        if self._recorder is not None:
            self._checkpoints.forget_after(update)
            self._recorder.close()
            self._open_recorder(update)

    def close(self) -> None:
        """Write no more."""
        self._checkpoints.abandon()
        if self._recorder is not None:
            self._recorder.close()
        self._closing.close()
