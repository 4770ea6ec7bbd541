"""A run's folder: its resolved spec, metrics, events, sample trace and checkpoints (DESIGN: The command)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import FileIO
from pathlib import Path
from typing import Any

from w2v2_ray.errors import StorageError
from w2v2_ray.run import names
from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.checkpoints.files import CheckpointManifest, every_file
from w2v2_ray.run.notes import RunNotes
from w2v2_ray.run.store import RunStore, SharedFolder


class RunFolder:
    """Paths and line files of one run.

    Args:
        path: `<storage_path>/<name>`, on a file system that every worker sees; of a run on an object store, its working
            folder on this node. `opening.open_run` makes either.
        store: Where the run lives; None is the folder itself.
    """

    def __init__(self, path: str | Path, store: RunStore | None = None) -> None:
        self.path = Path(path)
        self.store = store or SharedFolder(self.path)

    @property
    def place(self) -> str:
        """Where the run is, for messages and for other processes: its path or URI."""
        return self.store.place

    def place_of(self, path: Path) -> str:
        """Where a file of this run is, for processes on other nodes."""
        return self.store.place_of(path)

    @property
    def notes(self) -> RunNotes:
        """Small files by which the run's processes tell each other something."""
        return self.store.notes

    @property
    def spec(self) -> Path:
        """The resolved job spec."""
        return self.path / names.SPEC

    @property
    def vocabulary(self) -> Path:
        """The recogniser's symbols in the order of its outputs, of a fine-tuning run."""
        return self.path / names.VOCABULARY

    @property
    def initial(self) -> Path:
        """The model before its first update, of a fine-tuning run."""
        return self.path / names.INITIAL

    @property
    def start(self) -> Path:
        """What a fine-tuning run was asked to begin from."""
        return self.path / names.START

    @property
    def metrics(self) -> Path:
        """One JSON object an update logged."""
        return self.path / names.METRICS

    @property
    def events(self) -> Path:
        """What happened to the run, with times."""
        return self.path / self.store.events_name

    @property
    def own_events(self) -> Path:
        """Where this process appends events; on an object store, driver and workers have a file each."""
        return self.path / self.store.own_events_name

    @property
    def samples(self) -> Path:
        """Utterances of every update, when traced."""
        return self.path / names.SAMPLES

    @property
    def checkpoints(self) -> Path:
        """Training states."""
        return self.path / names.CHECKPOINTS

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files."""
        return self.path / names.TENSORBOARD

    def create(self) -> None:
        """Make the folder; of a run on an object store, bring here what is there.

        Raises:
            StorageError: When it cannot be made or written.
            StorageUnavailableError: When the object store does not answer.
        """
        self.store.pull()
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{self.path}: cannot create the run's folder ({error.strerror}); "
                "set storage_path to a folder that you may write and that every worker sees"
            ) from error

    def event(self, name: str, **details: Any) -> None:
        """Append one event. Safe from several processes: a short line is appended in one write."""
        write_event(self.own_events, name, **details)

    def state_names(self) -> list[str]:
        """Committed states, newest last, as the storage has them now."""
        return self.store.state_names()

    def fetch_state(self, path: Path, needed: Callable[[str], bool] = every_file) -> Path:
        """Make sure that a state's files are on this node; on a shared file system they are.

        Raises:
            CheckpointError: When a file of it is missing or altered.
            StorageUnavailableError: When the object store does not answer.
        """
        return self.store.fetch_state(path, needed)

    def check_state(self, path: Path) -> CheckpointManifest:
        """Check a state: its checksums, or on an object store, which keeps its own, that all files have their sizes.

        Raises:
            CheckpointError: Naming the first file that differs.
        """
        return self.store.check_state(path)

    def remove_state(self, path: Path) -> None:
        """Delete a state; one that cannot be deleted stays."""
        self.store.remove_state(path)

    def hold(self, notify: Callable[[str], None] = lambda message: None) -> AbstractContextManager[None]:
        """Hold the run for this driver while the block runs.

        Raises:
            StorageError: When another driver holds it.
        """
        return self.store.hold(self._tell_failing, notify)

    def follow(self, fence: Fence) -> AbstractContextManager[Callable[[], object]]:
        """On the first worker of an attempt: take the logs over from earlier ones; see `RunStore.follow`."""
        return self.store.follow(fence, self._tell_failing)

    def _tell_failing(self, reason: str) -> None:
        self.event("storage_failed", reason=reason[:500])

    def rewind(self, update: int) -> None:
        """Forget what was logged after an update, because it is about to be computed again."""
        for path in (self.metrics, self.samples):
            keep_lines(path, lambda record: int(record["update"]) <= update)


def write_event(file: Path, name: str, /, **details: Any) -> None:
    """Append one event to a file of events."""
    append_line(file, {"time": round(time.time(), 3), "event": name, **details})


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append a JSON object as one line, in a single write."""
    line = json.dumps(record, separators=(",", ":"), allow_nan=True) + "\n"
    with path.open("a+b", buffering=0) as file:
        if file.tell() and _last_byte(file) != b"\n":
            line = "\n" + line  # what a killed writer left unfinished must not swallow this line
        file.write(line.encode())


def _last_byte(file: FileIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON-lines file; what a killed writer or a power cut left unfinished is passed over."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def keep_lines(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Rewrite a JSON-lines file with the wanted objects alone; it is replaced in one step."""
    if not path.exists():
        return
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        for record in read_lines(path):
            if wanted(record):
                file.write(json.dumps(record, separators=(",", ":")) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
