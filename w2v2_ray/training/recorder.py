"""What a run writes about itself while it trains. Worker 0 writes; the others keep quiet.

Metrics and samples go into files that were opened right after the rewind replaced them. A worker of an earlier
attempt that wakes up writes into the replaced ones, which nobody reads any more.
"""

from __future__ import annotations

import errno
import json
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.logging import LoggingSpec


class _ScalarWriter(Protocol):
    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def close(self) -> None: ...


class Recorder:
    """Metrics, sample trace, events and TensorBoard of one run.

    Args:
        run: The run's folder.
        spec: What to write.
        start_update: Update from which this attempt goes on; later records of an earlier attempt are dropped.
        fence: Says whether this attempt may still write.
    """

    def __init__(self, run: RunFolder, spec: LoggingSpec, start_update: int, fence: Fence) -> None:
        self._run = run
        self._fence = fence
        fence.check()
        run.rewind(start_update)
        self._metrics = _LineFile(run.metrics)
        self._samples = _LineFile(run.samples) if spec.trace_samples else None
        self._board = self._tensorboard(start_update) if spec.tensorboard else None

    def _tensorboard(self, start_update: int) -> _ScalarWriter:
        from torch.utils.tensorboard import SummaryWriter

        writer: _ScalarWriter = SummaryWriter(str(self._run.tensorboard), purge_step=start_update + 1)
        return writer

    def metrics(self, record: dict[str, Any]) -> None:
        """Write one update's figures.

        Raises:
            SupersededError: When a newer attempt has the run.
        """
        self._fence.check()
        self._metrics.append(record)
        if self._board is not None:
            for name, value in record.items():
                if name != "update" and isinstance(value, (int, float)):
                    self._board.add_scalar(f"train/{name}", value, record["update"])

    def validation(self, update: int, figures: dict[str, float]) -> None:
        """Write held-out figures."""
        self._run.event("validation", update=update, **figures)
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"validation/{name}", value, update)

    def samples(self, update: int, used: list[tuple[int, str]]) -> None:
        """Write which utterances an update used, one line an epoch."""
        if self._samples is None:
            return
        for epoch in sorted({epoch for epoch, _ in used}):
            ids = [utterance for at, utterance in used if at == epoch]
            self._samples.append({"update": update, "epoch": epoch, "utterances": ids})

    def event(self, name: str, **details: Any) -> None:
        """Write an event."""
        self._run.event(name, **details)

    def close(self) -> None:
        """Flush and close."""
        self._metrics.close()
        if self._samples is not None:
            self._samples.close()
        if self._board is not None:
            self._board.close()


class _LineFile:
    """A JSON-lines file held open. A full disk loses lines, not the run: they are kept and written with a later one."""

    def __init__(self, path: Path) -> None:
        self._file: FileIO = path.open("ab", buffering=0)
        self._unwritten = b""

    def append(self, record: dict[str, Any]) -> None:
        self._unwritten += (json.dumps(record, separators=(",", ":"), allow_nan=True) + "\n").encode()
        try:
            written = self._file.write(self._unwritten)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
                raise
            return
        self._unwritten = self._unwritten[written:]

    def close(self) -> None:
        self._file.close()
