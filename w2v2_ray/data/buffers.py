"""Memory for micro-batches that is used again instead of being asked of the system anew."""

from __future__ import annotations

import math
import weakref
from collections import deque

import numpy as np
import numpy.typing as npt


class BufferPool:
    """Gives out arrays whose memory comes back by itself when nobody holds them, or a view of them, any more.

    Pages that are new to a process must be cleared and mapped by the system, which takes longer than copying a
    micro-batch of samples into them. Usable from several threads.
    """

    def __init__(self) -> None:
        self._free: deque[npt.NDArray[np.int16]] = deque()  # its append and pop need no lock
        self._largest = 0

    def empty(self, *shape: int) -> npt.NDArray[np.int16]:
        """An array of int16 with arbitrary content.

        Args:
            shape: Its shape. A buffer that is too small for it is dropped for one as large as any asked for so far.
        """
        size = math.prod(shape)
        self._largest = max(self._largest, size)
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = None
        if buffer is None or buffer.size < size:
            buffer = np.empty(self._largest, dtype=np.int16)
        # A view refers to the lowest array that is made of something else than an array: with the memoryview between,
        # that is `lent` and not `buffer`, so that `lent` lives as long as any view of it.
        lent = np.frombuffer(buffer.data, dtype=np.int16, count=size)
        weakref.finalize(lent, self._free.append, buffer).atexit = False
        return lent.reshape(shape)
