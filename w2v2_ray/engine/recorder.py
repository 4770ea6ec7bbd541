"""What a run writes about itself while it trains. Worker 0 writes; the others keep quiet."""

from __future__ import annotations

from typing import Any, Protocol

from w2v2_ray.engine.run_folder import RunFolder, append_line
from w2v2_ray.spec.job import LoggingSpec


class _ScalarWriter(Protocol):
    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def close(self) -> None: ...


class Recorder:
    """Metrics, sample trace, events and TensorBoard of one run.

    Args:
        run: The run's folder.
        spec: What to write.
        start_update: Update from which this attempt goes on; later records of an earlier attempt are dropped.
    """

    def __init__(self, run: RunFolder, spec: LoggingSpec, start_update: int) -> None:
        self._run = run
        run.rewind(start_update)
        self._board = self._tensorboard(start_update) if spec.tensorboard else None

    def _tensorboard(self, start_update: int) -> _ScalarWriter:
        from torch.utils.tensorboard import SummaryWriter

        writer: _ScalarWriter = SummaryWriter(str(self._run.tensorboard), purge_step=start_update + 1)  # type: ignore[no-untyped-call]
        return writer

    def metrics(self, record: dict[str, Any]) -> None:
        """Write one update's figures."""
        append_line(self._run.metrics, record)
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
        for epoch in sorted({epoch for epoch, _ in used}):
            ids = [utterance for at, utterance in used if at == epoch]
            append_line(self._run.samples, {"update": update, "epoch": epoch, "utterances": ids})

    def event(self, name: str, **details: Any) -> None:
        """Write an event."""
        self._run.event(name, **details)

    def close(self) -> None:
        """Flush and close."""
        if self._board is not None:
            self._board.close()
