"""Where a run lives: what is asked of a place, and the simple one, a file system that all of its processes see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from w2v2_ray.run import names
from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.checkpoints.files import CheckpointManifest, every_file, list_states, remove_state, verify
from w2v2_ray.run.checkpoints.store import CheckpointStore
from w2v2_ray.run.lock import run_lock
from w2v2_ray.run.notes import RunNotes

Tell = Callable[[str], None]


class RunStore(ABC):
    """A run's place, seen from one node, where the run looks like a folder.

    Attributes:
        is_here: Whether that folder is the run itself.
    """

    is_here: bool

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the run is, for messages and for other processes: its path or URI."""

    @abstractmethod
    def place_of(self, path: Path) -> str:
        """Where a file of this run is, for processes on other nodes."""

    @property
    @abstractmethod
    def notes(self) -> RunNotes:
        """Small files by which the run's processes tell each other something."""

    @property
    def events_name(self) -> str:
        """The file here that holds all events that are known here."""
        return names.EVENTS

    @property
    def own_events_name(self) -> str:
        """The file here that new events are appended to."""
        return names.EVENTS

    @abstractmethod
    def pull(self, *, samples: bool = False, states: bool = True) -> None:
        """Bring logs, small files and manifests here, replacing what is here.

        Args:
            samples: The trace of samples too, which may be large.
            states: The manifests too.

        Raises:
            StorageError: The storage refuses.
            StorageUnavailableError: It does not answer.
        """

    @abstractmethod
    def pull_start(self) -> None:
        """Bring what the run begins from, if it is settled. Several workers of a node may ask at once."""

    @abstractmethod
    def push_start(self) -> None:
        """Put the spec, and what the run begins from."""

    @abstractmethod
    def state_names(self) -> list[str]:
        """Committed states, newest last, as the storage has them now."""

    @abstractmethod
    def fetch_state(self, path: Path, needed: Callable[[str], bool] = every_file) -> Path:
        """Make sure that a state's files are on this node.

        Args:
            path: Of the state.
            needed: Other files, by name, may be missing.

        Raises:
            CheckpointError: When a file of it is missing or altered.
            StorageUnavailableError: When the storage does not answer.
        """

    @abstractmethod
    def check_state(self, path: Path) -> CheckpointManifest:
        """Check that a state is whole.

        Raises:
            CheckpointError: Naming the first file that differs.
        """

    @abstractmethod
    def remove_state(self, path: Path) -> None:
        """Delete a state; one that cannot be deleted stays."""

    @abstractmethod
    def checkpoint_store(self, before_commit: Callable[[], object]) -> Callable[..., CheckpointStore]:
        """What makes the keeper of the run's states; its arguments are those of `CheckpointStore`.

        Args:
            before_commit: Called before a state is committed: puts what must not be lost when the run resumes from it.
        """

    @abstractmethod
    def hold(self, tell: Tell, notify: Tell) -> AbstractContextManager[None]:
        """Hold the run for this driver while the block runs, and keep this node's logs up to date.

        Args:
            tell: Told when the storage begins to fail; the run goes on.
            notify: Told what the user should know.

        Raises:
            StorageError: When another driver holds it.
        """

    @abstractmethod
    def follow(self, fence: Fence, tell: Tell) -> AbstractContextManager[Callable[[], object]]:
        """On the first worker of an attempt: take the logs over from earlier ones, and put what this one adds.

        Args:
            fence: Says whether this attempt may write.
            tell: Told when the storage begins to fail.

        Yields:
            The `before_commit` of `checkpoint_store`.
        """


class SharedFolder(RunStore):
    """A folder on a file system that driver and workers see: nothing is moved.

    Args:
        path: The run's folder.
    """

    is_here = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._notes = RunNotes(path)

    @property
    def place(self) -> str:
        """Its path."""
        return str(self._path)

    def place_of(self, path: Path) -> str:
        """The path itself."""
        return str(path)

    @property
    def notes(self) -> RunNotes:
        """Files in the folder."""
        return self._notes

    def pull(self, *, samples: bool = False, states: bool = True) -> None:
        """Everything is here."""

    def pull_start(self) -> None:
        """Everything is here."""

    def push_start(self) -> None:
        """Everything is here."""

    def state_names(self) -> list[str]:
        """Those in the folder."""
        return [path.name for path in list_states(self._path / names.CHECKPOINTS)]

    def fetch_state(self, path: Path, needed: Callable[[str], bool] = every_file) -> Path:
        """It is here."""
        return path

    def check_state(self, path: Path) -> CheckpointManifest:
        """Compare checksums."""
        return verify(path)

    def remove_state(self, path: Path) -> None:
        """Delete it in one step."""
        remove_state(path)

    def checkpoint_store(self, before_commit: Callable[[], object]) -> Callable[..., CheckpointStore]:
        """The plain keeper."""
        return CheckpointStore

    def hold(self, tell: Tell, notify: Tell) -> AbstractContextManager[None]:
        """Lock the folder."""
        return run_lock(self._path)

    @contextmanager
    def follow(self, fence: Fence, tell: Tell) -> Iterator[Callable[[], object]]:
        """Nothing is to be put anywhere."""
        yield lambda: None
