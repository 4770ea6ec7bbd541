"""Items made ahead of their use when what will be used may change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Makes items on a background thread in the order in which they are expected to be asked for.

    Args:
        make: Makes one item; errors it raises surface when it is asked for.
        depth: Items ready or in the making at most.
    """

    def __init__(self, make: Callable[[int], T], *, depth: int) -> None:
        self._make = make
        self._depth = max(depth, 1)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="w2v2-ray-loader")
        self._making: dict[int, Future[T]] = {}
        self._expected: list[int] = []
        self.wait_s = 0.0

    def expect(self, indices: Iterable[int]) -> None:
        """Make these ready, in this order, and nothing else."""
        self._expected = list(indices)
        for index in [index for index in self._making if index not in self._expected]:
            self._making.pop(index).cancel()
        self._fill()

    def get(self, index: int) -> T:
        """One item, made now where it was not expected."""
        future = self._making.pop(index, None)
        if future is None:
            future = self._pool.submit(self._make, index)
        started = time.perf_counter()
        item = future.result()
        self.wait_s += time.perf_counter() - started
        if index in self._expected:
            self._expected.remove(index)
        self._fill()
        return item

    def _fill(self) -> None:
        for index in self._expected:
            if len(self._making) >= self._depth:
                return
            if index not in self._making:
                self._making[index] = self._pool.submit(self._make, index)

    def close(self) -> None:
        """Stop making items and release the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._making = {}
