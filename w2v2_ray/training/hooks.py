"""What surrounds a trainer, such as Ray, as the trainer sees it."""

from __future__ import annotations

from typing import Any, Protocol


class TrainerHooks(Protocol):
    """What surrounds the trainer: wants to know, and may want something. All methods are called on every worker."""

    def on_update(self, update: int, record: dict[str, Any] | None) -> None:
        """An update is done; `record` is its metrics line where one was written."""

    def on_checkpoint(self, update: int) -> None:
        """A checkpoint of this update is being written in the background."""

    def wants_state(self) -> bool:
        """A state should be saved as soon as possible. True on one worker is enough."""

    def must_leave(self) -> bool:
        """A node of this job is about to be taken away. True on one worker is enough."""

    def leave(self, update: int) -> None:
        """The state asked for by `must_leave` is saved; ends the attempt by raising what the surroundings know."""


class NoHooks:
    """Nothing surrounds the trainer."""

    def on_update(self, update: int, record: dict[str, Any] | None) -> None:
        """Ignore."""

    def on_checkpoint(self, update: int) -> None:
        """Ignore."""

    def wants_state(self) -> bool:
        """Never."""
        return False

    def must_leave(self) -> bool:
        """Never."""
        return False

    def leave(self, update: int) -> None:
        """Never called."""
