"""Follow a run's metrics as they are written and tell a listener."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class MetricsFollower:
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
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._offset = path.stat().st_size if path.exists() else 0
        self._inode = path.stat().st_ino if path.exists() else None
        self._thread = threading.Thread(target=self._run, name="w2v2-ray-progress", daemon=True)

    def __enter__(self) -> MetricsFollower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._read()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._read()

    def _read(self) -> None:
        if not self._path.exists():
            return
        status = self._path.stat()
        if status.st_ino != self._inode:
            # Rewritten after a resume: what is in it now was told before, what follows is new.
            fresh = self._inode is None
            self._inode = status.st_ino
            self._offset = 0 if fresh else min(self._offset, status.st_size)
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                self._listener(record)
