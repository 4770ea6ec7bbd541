"""Work that several processes can share, whoever brings them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class RunOnWorkers(Protocol):
    """Calls a function with every part, each on a worker of its own; `orchestration.share` does it with Ray."""

    def __call__(
        self,
        function: Callable[[A], R],
        parts: Sequence[A],
        *,
        use_gpus: bool,
        on_done: Callable[[int], None],
    ) -> list[R]:
        """Results in the order of the parts.

        Args:
            function: What to do.
            parts: Its argument on each worker.
            use_gpus: Share what GPUs there are between the workers.
            on_done: Told the number of each part that is done.
        """
        ...
