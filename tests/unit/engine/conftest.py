"""Process groups shared by the engine's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_worlds import Worlds


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """`worlds[2].run(function, ...)` calls a function on two ranks."""
    worlds = Worlds(tmp_path_factory.mktemp("worlds"))
    for size in (3, 2, 1):
        worlds[size]  # Start all at once: importing DeepSpeed takes seconds.
    yield worlds
    worlds.close()
