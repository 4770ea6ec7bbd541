"""One driver per run: two would overwrite each other's checkpoints."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from w2v2_ray.errors import StorageError
from w2v2_ray.run import names


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run for this process; the operating system releases it however the process ends.

    Raises:
        StorageError: When another process holds it.
    """
    path = folder / names.LOCK
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise StorageError(
                f"{folder}: {holder} is training this run; wait for it, stop it, or use another name"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
