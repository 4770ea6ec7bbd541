"""Follow a run's metrics as they are written and tell a listener."""

from __future__ import annotations

import json
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from w2v2_ray.run.folder import RunFolder, read_lines


class _Follower(ABC):
    """Looks at a file every now and then from a background thread, and once more at the end."""

    def __init__(self, thread: str, interval_s: float) -> None:
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=thread, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.look()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.look()

    @abstractmethod
    def look(self) -> None:
        """Tell what was written since the last look."""


class EventsFollower(_Follower):
    """Calls a listener with every new event of a run, from a background thread.

    Args:
        run: The run; its events may be rewritten, in another order, when they are joined from several writers.
        listener: Called with each event.
        interval_s: Time between two looks.
    """

    def __init__(self, run: RunFolder, listener: Callable[[dict[str, Any]], None], interval_s: float = 1.0) -> None:
        self._path = run.events
        self._listener = listener
        super().__init__("w2v2-ray-events", interval_s)
        self._status: tuple[int, int] | None = None
        self._reported = {_key(event) for event in read_lines(self._path)}

    def look(self) -> None:
        """Tell what was written since the last look."""
        try:
            status = self._path.stat()
        except OSError:
            return
        if self._status == (status.st_ino, status.st_size):
            return
        self._status = (status.st_ino, status.st_size)
        for event in read_lines(self._path):
            key = _key(event)
            if key not in self._reported:
                self._reported.add(key)
                self._listener(event)


def _key(event: dict[str, Any]) -> str:
    return json.dumps(event, sort_keys=True)


class MetricsFollower(_Follower):
    """Calls a listener with every new line of a run's `metrics.jsonl`, from a background thread.

    The driver follows the file rather than Ray's reports, because a report is a barrier among the workers.

    Args:
        path: The file; it may not exist yet, and is rewritten when a run goes back to a checkpoint.
        listener: Called with each record.
        interval_s: Time between two looks.
    """

    def __init__(self, path: Path, listener: Callable[[dict[str, Any]], None], interval_s: float = 0.25) -> None:
        self._path = path
        self._listener = listener
        super().__init__("w2v2-ray-progress", interval_s)
        self._offset = path.stat().st_size if path.exists() else 0
        self._inode = path.stat().st_ino if path.exists() else None
        # Records carry the time they were made at, which tells those made again after a rewind from those kept by it.
        self._told_until = max((float(record.get("time", 0.0)) for record in read_lines(path)), default=float("-inf"))

    def look(self) -> None:
        """Tell what was written since the last look."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            rewritten = status.st_ino != self._inode or status.st_size < self._offset
            if rewritten:
                self._inode, self._offset = status.st_ino, 0
            kept_until = self._told_until if rewritten else None
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._tell(line, kept_until)

    def _tell(self, line: bytes, kept_until: float | None) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            return
        made_at = float(record.get("time", 0.0))
        if kept_until is not None and made_at <= kept_until:
            return
        self._told_until = max(self._told_until, made_at)
        self._listener(record)
