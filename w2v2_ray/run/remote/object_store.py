"""The remote side of a run that lives on an object store: what is put there, what is got from there, and when.

Nobody trains or reads over the network. Driver and workers keep a working folder each on their node, which looks like
a run's folder on a shared disk; this class keeps it and the store alike. Every object has one writer: the driver
(`spec.yaml`, `events.jsonl`, the lock, what a fine-tuning run begins from) or the first worker of the attempt that has
the run (`metrics.jsonl`, `samples.jsonl`, `events-workers.jsonl`, `interventions.json`, TensorBoard, states).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock

from w2v2_ray.errors import StorageError, StorageUnavailableError
from w2v2_ray.places.durable import write_text
from w2v2_ray.places.storage import Location
from w2v2_ray.run import names
from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.checkpoints.files import CheckpointManifest, every_file
from w2v2_ray.run.checkpoints.store import CheckpointStore
from w2v2_ray.run.remote.checkpoint_store import RemoteCheckpointStore
from w2v2_ray.run.remote.event_log import join_events
from w2v2_ray.run.remote.line_log import LineLog
from w2v2_ray.run.remote.lock import HEARTBEAT_S, RemoteLock
from w2v2_ray.run.remote.mirror import Mirror, MirrorTask
from w2v2_ray.run.remote.notes import RemoteNotes
from w2v2_ray.run.remote.states import RemoteStates
from w2v2_ray.run.remote.work_folder import Role
from w2v2_ray.run.store import RunStore, Tell

_LOGS = (names.METRICS, names.SAMPLES)
_WORKER_FILES = (names.INTERVENTIONS,)
_START_FILES = (names.VOCABULARY, names.START)
_VIEW_KEEP_S = 3600.0
_EVENTS_EVERY_S = 5.0
_METRICS_EVERY_S = 3.0
_NOTES_EVERY_S = 2.0
_LOGS_EVERY_S = 5.0
_TENSORBOARD_EVERY_S = 60.0
_LAST_PATIENCE_S = 20.0


class ObjectStore(RunStore):
    """A run on an object store, seen from one node.

    Args:
        location: The run on the store.
        work: Its working folder here.
        role: Whose folder it is.
    """

    is_here = False

    def __init__(self, location: Location, work: Path, role: Role) -> None:
        self.location = location
        self.role = role
        self._work = work
        self._notes = RemoteNotes(location, work)
        self.states = RemoteStates(
            location / names.CHECKPOINTS, work / names.CHECKPOINTS, _VIEW_KEEP_S if role == "view" else 0.0
        )
        self._logs = [LineLog(work / name, location) for name in _LOGS]
        self._put: dict[str, tuple[int, int, int]] = {}

    @property
    def place(self) -> str:
        """Its URI."""
        return self.location.uri

    def place_of(self, path: Path) -> str:
        """The URI of what a path in the working folder stands for."""
        return (self.location / path.relative_to(self._work).as_posix()).uri

    @property
    def notes(self) -> RemoteNotes:
        """Objects beside the run's files."""
        return self._notes

    @property
    def events_name(self) -> str:
        """The file here that holds all events that are known here."""
        return names.WORKER_EVENTS if self.role == "worker" else names.EVENTS

    @property
    def own_events_name(self) -> str:
        """The file here that new events are appended to."""
        return names.WORKER_EVENTS if self.role == "worker" else names.DRIVER_EVENTS

    def pull(self, *, samples: bool = False, states: bool = True) -> None:
        """Get what the store has; see `RunStore.pull`."""
        self._work.mkdir(parents=True, exist_ok=True)
        present = {*self.location.names()}
        self._logs[0].pull()
        if samples:
            self._logs[1].pull()
        for name in (names.SPEC, names.VOCABULARY, *_WORKER_FILES):
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
            for file in (self.location / names.INITIAL).files() if _START_FILES[-1] in present else ():
                path = self._work / names.INITIAL / file.name
                if path.exists() and path.stat().st_size == file.bytes:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f".{path.name}.{os.getpid()}.part")
                (self.location / names.INITIAL / file.name).download(partial)
                partial.replace(path)
            for name in _START_FILES:
                self._pull_file(name, present)

    def pull_events(self) -> None:
        """Join all events into this node's file: the store's, and what was told here and is not there yet."""
        told = [self._bytes(names.WORKER_EVENTS)]
        if self.role != "worker":
            told += [self._bytes(names.EVENTS)]
            told += [_local(self._work / name) for name in (names.DRIVER_EVENTS, names.EVENTS)]
        else:
            told.append(_local(self._work / names.WORKER_EVENTS))
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

    def push(self, *files: str) -> None:
        """Put small files that have changed since this object put them."""
        for name in files:
            path = self._work / name
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                seen = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._put.get(name) == seen:
                    continue
                (self.location / name).write_bytes(path.read_bytes()[: status.st_size])
                self._put[name] = seen

    def push_start(self) -> None:
        """Put what the run begins from, `start.json`, which says that it is settled, last and once; and the spec."""
        if not (self.location / _START_FILES[-1]).exists():
            for path in sorted((self._work / names.INITIAL).rglob("*")):
                if path.is_file():
                    (self.location / path.relative_to(self._work).as_posix()).put(path)
            self.push(*_START_FILES)
        self.push(names.SPEC)

    def push_worker_files(self) -> None:
        """Put what the first worker writes, where it has changed.

        Raises:
            StorageError: The storage refuses.
            StorageUnavailableError: It does not answer.
        """
        for log in self._logs:
            log.push()
        self.push(names.WORKER_EVENTS, *_WORKER_FILES)

    def push_tensorboard(self) -> None:
        """Put TensorBoard's files, where they have changed."""
        folder = self._work / names.TENSORBOARD
        if folder.is_dir():
            self.push(*(path.relative_to(self._work).as_posix() for path in sorted(folder.iterdir())))

    def push_events(self) -> None:
        """Join all events and put them, where there are new ones. On the driver."""
        self.pull_events()
        self.push(names.EVENTS)

    def state_names(self) -> list[str]:
        """Those that the store has."""
        return self.states.names()

    def fetch_state(self, path: Path, needed: Callable[[str], bool] = every_file) -> Path:
        """Download it, unless it is here already."""
        return self.states.fetch(path, needed)

    def check_state(self, path: Path) -> CheckpointManifest:
        """Check that all files are there with their sizes: the store keeps checksums of its own."""
        return self.states.check(path)

    def remove_state(self, path: Path) -> None:
        """Delete its objects."""
        with contextlib.suppress(OSError, StorageError):
            self.states.remove(path)

    def checkpoint_store(self, before_commit: Callable[[], object]) -> Callable[..., CheckpointStore]:
        """The keeper that puts every worker's share."""
        return partial(RemoteCheckpointStore, states=self.states, before_commit=before_commit)

    @contextmanager
    def hold(self, tell: Tell, notify: Tell) -> Iterator[None]:
        """Put a sign of life again and again; bring metrics here and put events meanwhile, and once after it."""
        lock = RemoteLock(self.location)
        lock.acquire(notify)
        # The heart must not wait for anything else.
        heart = Mirror([MirrorTask(lock.beat, HEARTBEAT_S)])
        try:
            self.pull()  # what another driver may have added since this one looked
            self.pull_start()
            metrics, events = (
                MirrorTask(self.pull_metrics, _METRICS_EVERY_S),
                MirrorTask(self.push_events, _EVENTS_EVERY_S),
            )
            mirror = Mirror([metrics, events], tell)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    problem = mirror.close(metrics, events, patience_s=_LAST_PATIENCE_S)
                    if problem:
                        where = f"they are in {self._work}"
                        notify(f"{self.place}: the last events could not be put there ({problem}); {where}")
        finally:
            heart.close(patience_s=0.0)
            with contextlib.suppress(OSError, StorageError):
                lock.release()

    @contextmanager
    def follow(self, fence: Fence, tell: Tell) -> Iterator[Callable[[], object]]:
        """Bring all logs here, then put what is added, as long as the fence holds."""
        self.pull(samples=True)

        def push() -> None:
            if fence.holds():
                self.push_worker_files()

        def push_board() -> None:
            if fence.holds():
                self.push_tensorboard()

        pushing, board = MirrorTask(push, _LOGS_EVERY_S), MirrorTask(push_board, _TENSORBOARD_EVERY_S)
        mirror = Mirror([MirrorTask(self.notes.look, _NOTES_EVERY_S), pushing, board], tell)
        try:
            yield pushing.run
        finally:
            # After an error too: what it was is in the events. A state that was committed is safe without this.
            with contextlib.suppress(OSError):
                mirror.close(pushing, board, patience_s=_LAST_PATIENCE_S)


def _local(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
