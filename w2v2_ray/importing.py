"""Imports of large libraries, at less cost."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Look for no garbage while the block imports.

    A large import makes hundreds of thousands of objects that stay, and Python walks all of them again and again in
    search of some that do not: a fifth of what a worker's imports cost.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
