"""The remote side of a run that lives on an object store: what is put there, what is got from there, and when.

Nobody trains or reads over the network. Driver and workers keep a working folder each on their node, which looks like
a run's folder on a shared disk; this class keeps it and the store alike. Every object has one writer: the driver
(`spec.yaml`, `events.jsonl`, the lock, what a fine-tuning run begins from) or the first worker of the attempt that has
the run (`metrics.jsonl`, `samples.jsonl`, `events-workers.jsonl`, `interventions.json`, TensorBoard, states).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from filelock import FileLock

from w2v2_ray.errors import StorageError, StorageUnavailableError
from w2v2_ray.places.durable import write_text
from w2v2_ray.places.storage import Location
from w2v2_ray.run.remote.event_log import join_events
from w2v2_ray.run.remote.line_log import LineLog
from w2v2_ray.run.remote.notes import RemoteNotes
from w2v2_ray.run.remote.states import RemoteStates
from w2v2_ray.run.remote.work_folder import Role

EVENTS = "events.jsonl"
"""On the store: all events, put by the driver. In the driver's and a viewer's working folder the same."""
DRIVER_EVENTS = "events-driver.jsonl"
"""In the driver's working folder: what it and Ray's controller tell."""
WORKER_EVENTS = "events-workers.jsonl"
"""On the store and in the workers' folder: what the first worker tells."""
_LOGS = ("metrics.jsonl", "samples.jsonl")
_WORKER_FILES = ("interventions.json",)
_START_FILES = ("vocabulary.json", "start.json")
_INITIAL = "initial"
_VIEW_KEEP_S = 3600.0


class RemoteRun:
    """A run on an object store, seen from one node.

    Args:
        location: The run on the store.
        work: Its working folder here.
        role: Whose folder it is.
    """

    def __init__(self, location: Location, work: Path, role: Role) -> None:
        self.location = location
        self.role = role
        self._work = work
        self.notes = RemoteNotes(location, work)
        self.states = RemoteStates(
            location / "checkpoints", work / "checkpoints", _VIEW_KEEP_S if role == "view" else 0.0
        )
        self._logs = [LineLog(work / name, location) for name in _LOGS]
        self._put: dict[str, tuple[int, int, int]] = {}

    @property
    def uri(self) -> str:
        """Where it is, for messages and for other processes."""
        return self.location.uri

    @property
    def events_name(self) -> str:
        """The file here that holds all events that are known here."""
        return WORKER_EVENTS if self.role == "worker" else EVENTS

    @property
    def own_events_name(self) -> str:
        """The file here that new events are appended to."""
        return WORKER_EVENTS if self.role == "worker" else DRIVER_EVENTS

    def pull(self, *, samples: bool = False, states: bool = True) -> None:
        """Bring logs, small files and manifests here, replacing what is here.

        Args:
            samples: The trace of samples too, which may be large.
            states: The manifests too.

        Raises:
            StorageError: The storage refuses.
            StorageUnavailableError: It does not answer.
        """
        self._work.mkdir(parents=True, exist_ok=True)
        present = {*self.location.names()}
        self._logs[0].pull()
        if samples:
            self._logs[1].pull()
        for name in ("spec.yaml", "vocabulary.json", *_WORKER_FILES):
            self._pull_file(name, present)
        self.pull_events()
        if states:
            self.states.pull()

    def pull_metrics(self) -> None:
        """Bring the metrics alone, where they have changed."""
        self._logs[0].pull_if_changed()

    def _pull_file(self, name: str, present: set[str]) -> None:
        if name in present:
            write_text(self._work / name, (self.location / name).read_bytes().decode())
        else:
            (self._work / name).unlink(missing_ok=True)

    def pull_start(self) -> None:
        """Bring what a fine-tuning run begins from, if it is settled. Several workers of a node may ask at once."""
        self._work.mkdir(parents=True, exist_ok=True)
        with FileLock(self._work / "start.lock"):
            present = {*self.location.names()}
            for file in (self.location / _INITIAL).files() if _START_FILES[-1] in present else ():
                path = self._work / _INITIAL / file.name
                if path.exists() and path.stat().st_size == file.bytes:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f".{path.name}.{os.getpid()}.part")
                (self.location / _INITIAL / file.name).download(partial)
                partial.replace(path)
            for name in _START_FILES:
                self._pull_file(name, present)

    def pull_events(self) -> None:
        """Join all events into this node's file: the store's, and what was told here and is not there yet."""
        told = [self._bytes(WORKER_EVENTS)]
        if self.role != "worker":
            told += [self._bytes(EVENTS), _local(self._work / DRIVER_EVENTS), _local(self._work / EVENTS)]
        else:
            told.append(_local(self._work / WORKER_EVENTS))
        joined = join_events(*told)
        if joined != _local(self._work / self.events_name):
            write_text(self._work / self.events_name, joined.decode())

    def _bytes(self, name: str) -> bytes:
        place = self.location / name
        try:
            return place.read_bytes()
        except StorageUnavailableError:
            raise
        except StorageError:
            if place.exists():
                raise
            return b""

    def push(self, *names: str) -> None:
        """Put small files that have changed since this object put them."""
        for name in names:
            path = self._work / name
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                seen = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._put.get(name) == seen:
                    continue
                (self.location / name).write_bytes(path.read_bytes()[: status.st_size])
                self._put[name] = seen

    def push_start(self) -> None:
        """Put what a fine-tuning run begins from; `start.json`, which says that it is settled, last and once."""
        if (self.location / _START_FILES[-1]).exists():
            return
        for path in sorted((self._work / _INITIAL).rglob("*")):
            if path.is_file():
                (self.location / path.relative_to(self._work).as_posix()).put(path)
        self.push(*_START_FILES)

    def push_worker_files(self) -> None:
        """Put what the first worker writes, where it has changed.

        Raises:
            StorageError: The storage refuses.
            StorageUnavailableError: It does not answer.
        """
        for log in self._logs:
            log.push()
        self.push(WORKER_EVENTS, *_WORKER_FILES)

    def push_tensorboard(self) -> None:
        """Put TensorBoard's files, where they have changed."""
        folder = self._work / "tensorboard"
        if folder.is_dir():
            self.push(*(path.relative_to(self._work).as_posix() for path in sorted(folder.iterdir())))

    def push_events(self) -> None:
        """Join all events and put them, where there are new ones. On the driver."""
        self.pull_events()
        self.push(EVENTS)


def _local(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
