"""One driver per run on an object store, which knows no locks: every driver puts an object and looks for others.

A driver puts `.lock/<token>.json` again every few seconds. Whoever finds another driver's object that is younger than
that does not start: puts and listings are consistent, so of two that come at once at least one sees the other. Ages
are differences of the store's own times; clocks of machines do not matter. An object that is no longer put again was
left by a driver that died: it is waited for once, unless the driver ran on this machine and its process is gone.

What is guaranteed: never two drivers that both reach the store. One that is cut off from it for longer than
`EXPIRES_S` may be taken for dead; its workers then find the run taken over (`Fence`) and commit nothing more.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable

import psutil

from w2v2_ray.errors import StorageError
from w2v2_ray.places.storage import Location, StoredFile
from w2v2_ray.run import names

HEARTBEAT_S = 5.0
EXPIRES_S = 25.0
_POLL_S = 1.0


class RemoteLock:
    """A driver's hold of a run.

    Args:
        location: The run.
        expires_s: Age from which an object counts as left behind.
    """

    def __init__(self, location: Location, expires_s: float = EXPIRES_S) -> None:
        self._folder = location / names.LOCK_FOLDER
        self._place = location
        self._expires_s = expires_s
        self._token = uuid.uuid4().hex
        self._name = f"{self._token}.json"

    def beat(self) -> None:
        """Put the object again."""
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
        (self._folder / self._name).write_bytes(json.dumps(holder).encode())

    def acquire(self, notify: Callable[[str], None] = lambda message: None) -> None:
        """Take the run.

        Raises:
            StorageError: Another driver has it, or the storage refuses.
            StorageUnavailableError: The storage does not answer.
        """
        first: dict[str, float] = {}
        told = False
        try:
            while True:
                self.beat()
                files = {file.name: file for file in self._folder.files()}
                now = files[self._name].modified_s
                others = [file for name, file in files.items() if name != self._name]
                live = [file for file in others if not self._is_dead(file, now)]
                if not live:
                    for file in others:
                        (self._folder / file.name).delete()
                    return
                if any(file.modified_s > first.setdefault(file.name, file.modified_s) for file in live):
                    raise StorageError(
                        f"{self._place}: {self._describe(live[0])} is training this run; wait for it, stop it, or use "
                        "another name"
                    )
                if not told:
                    notify(
                        f"{self._describe(live[0])} may still be training this run; looking for {self._expires_s:g} s "
                        "whether it shows a sign of life"
                    )
                    told = True
                time.sleep(_POLL_S)
        except BaseException:
            with contextlib.suppress(OSError, StorageError):
                self.release()
            raise

    def release(self) -> None:
        """Give the run up."""
        (self._folder / self._name).delete()

    def _is_dead(self, file: StoredFile, now: float) -> bool:
        if now - file.modified_s > self._expires_s:
            return True
        holder = self._holder(file)
        if holder.get("host") != socket.gethostname():
            return False
        try:
            return bool(psutil.Process(int(str(holder["pid"]))).create_time() != holder["started"])
        except (psutil.Error, KeyError, ValueError, TypeError):
            return True

    def _holder(self, file: StoredFile) -> dict[str, object]:
        try:
            content = json.loads((self._folder / file.name).read_bytes())
        except (OSError, StorageError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _describe(self, file: StoredFile) -> str:
        holder = self._holder(file)
        return f"process {holder.get('pid')} on {holder.get('host')}"
