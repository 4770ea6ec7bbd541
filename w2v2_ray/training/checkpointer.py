"""When a run saves, what it does when a save fails, and what it resumes from. Runs on every worker alike.

Workers agree through figures that ride on a sum which every update needs anyway (`Signals`), so that none ever waits
for another's disk: while any is still writing, all skip the snapshot.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from w2v2_ray.engine.distributed import broadcast_object, gather_objects
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.engine.training_state import snapshot_training_state
from w2v2_ray.errors import CheckpointError, RunFailedError
from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.checkpoints.files import (
    CheckpointManifest,
    StateKind,
    best_score,
    check_identity,
    is_snapshot,
    list_checkpoints,
    list_states,
    newest_good,
    none_is_usable,
    read_manifest,
    score,
    update_of,
)
from w2v2_ray.run.checkpoints.store import CheckpointStore
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.training.watch.guard import Guard
from w2v2_ray.training.watch.interventions import Interventions

_RETRY_S = 5.0
_RETRY_UPDATES = 10


class _Event(Protocol):
    def __call__(self, name: str, **details: Any) -> None: ...


@dataclass(frozen=True)
class Signals:
    """What a worker tells the others with every update, as numbers that are added up.

    Attributes:
        busy: Its last save is still being written.
        failed: Its last save failed.
        due: It is the first worker, and time for a snapshot.
        urgent: A state is wanted as soon as possible: somebody is about to take workers away.
        leave: Its node, or another worker's, is about to be taken away.
    """

    busy: float = 0.0
    failed: float = 0.0
    due: float = 0.0
    urgent: float = 0.0
    leave: float = 0.0

    def as_list(self) -> list[float]:
        """For the sum."""
        return [getattr(self, entry.name) for entry in fields(self)]

    @classmethod
    def from_list(cls, values: Sequence[float]) -> Signals:
        """The sum."""
        return cls(*values)


@dataclass
class Found:
    """What a run that resumes finds: a state, none, or a reason not to go on.

    Attributes:
        state: Name of the state.
        problem: Why it must not go on.
        best_score: Lowest validation score so far.
        interventions: The run's rollbacks.
        last_update: Last update that an earlier attempt logged.
        last_time: When that was; 0 when there was none.
    """

    state: str | None = None
    problem: str | None = None
    best_score: float = float("inf")
    interventions: Interventions = field(default_factory=Interventions)
    last_update: int = 0
    last_time: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """For the other workers."""
        return {**vars(self), "interventions": self.interventions.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Found:
        """What the first worker found."""
        return cls(**{**document, "interventions": Interventions.from_json(document["interventions"])})


class Checkpointer:
    """Saves one run's training states, on workers that have a part in it: those on which it was opened.

    Args:
        job: The spec.
        engine: Whose state it is.
        run: The run's folder.
        identity: What must agree for a run to go on.
        epoch_after: Epoch of the micro-batch that follows an update.
        event: Writes an event, on the first worker only.
        extra: Gives tensors of the objective's own, the same on every worker.
    """

    def __init__(
        self,
        job: TrainJob,
        engine: TrainingEngine,
        run: RunFolder,
        identity: dict[str, str],
        epoch_after: Callable[[int], int],
        event: _Event,
        extra: Callable[[], Mapping[str, Tensor]] = dict,
    ) -> None:
        self._job = job
        self._spec = job.checkpoint
        self._engine = engine
        self._run = run
        self._identity = identity
        self._epoch_after = epoch_after
        self._event = event
        self._extra = extra
        self._first = engine.world_rank == 0
        self._store: CheckpointStore | None = None
        self.best_score = float("inf")
        """Lowest validation score so far; the same on every worker."""
        self._kind: StateKind = "checkpoint"
        self._pending: StateKind | None = None
        self._overdue = False
        self._last_saved = -1
        self._last_time = time.monotonic()

    def open(self, fence: Fence, update: int, before_commit: Callable[[], object] = lambda: None) -> None:
        """Begin to save, from where the run resumed.

        Args:
            fence: Says whether this attempt may write.
            update: Where the run is.
            before_commit: On an object store, puts what a state needs beside it.
        """
        self._last_saved = update
        self._last_time = time.monotonic()
        self._store = self._run.store.checkpoint_store(before_commit)(
            self._run.checkpoints,
            self._spec,
            attempt=fence.token,
            world_rank=self._engine.world_rank,
            world_size=self._engine.world_size,
            on_commit=self._committed,
            may_commit=fence.holds,
        )

    def take_over(self, update: int) -> None:
        """Go on for a worker that saved until now: what it was to save and has not, is due."""
        saved = [update_of(path) for path in list_states(self._run.checkpoints) if update_of(path) <= update]
        self._last_saved = max(saved, default=0)
        due = update - update % self._spec.every_updates
        if due and not any(at >= due for at in map(update_of, list_checkpoints(self._run.checkpoints))):
            self._overdue = True

    def rewound(self, update: int) -> None:
        """Training went back to an update, whose state is on disk."""
        self._last_saved = update
        self._pending = None

    @property
    def store(self) -> CheckpointStore:
        """Where states go. `open` must have been called."""
        assert self._store is not None
        return self._store

    def signals(self) -> tuple[float, float, float]:
        """Busy, failed, due: this worker's part of the update's `Signals`."""
        store = self._store
        if store is None:
            return 0.0, 0.0, 0.0
        wait_s = self._spec.snapshot_s if self._pending is None else max(_RETRY_S, self._spec.snapshot_s)
        due = self._first and time.monotonic() - self._last_time >= wait_s
        return float(store.busy), float(store.problem is not None), float(due)

    def give_up_failed(self, signals: Signals) -> None:
        """Give up a save that failed on any worker. Collective when one did."""
        if signals.failed:
            self._give_up(gather_objects(self.store.problem))

    def save_if_due(
        self, update: int, validation: dict[str, float] | None, signals: Signals, guard: Guard, *, last: bool
    ) -> bool:
        """Save a checkpoint or a snapshot, if it is time for one and no worker still writes. Collective.

        Args:
            update: The update.
            validation: Its held-out figures, where it was validated.
            signals: What the workers told each other.
            guard: The watchdog, whose state is saved too.
            last: It is the run's last update.

        Returns:
            Whether a checkpoint (not a snapshot) is being saved.
        """
        kind = self._due(update, validation, signals, last=last)
        if self._store is None or kind is None or update == self._last_saved or (guard.uneasy and not last):
            return False
        if signals.busy:
            if kind == "snapshot" and not (signals.urgent or signals.leave):
                return False
            self.settle()
        self.save(update, kind, validation, guard)
        return kind == "checkpoint"

    def _due(
        self, update: int, validation: dict[str, float] | None, signals: Signals, *, last: bool
    ) -> StateKind | None:
        spec = self._spec
        improved = validation is not None and score(validation) < self.best_score
        if improved and validation is not None:
            self.best_score = score(validation)
        if update % spec.every_updates == 0 or last or self._overdue or (improved and spec.keep_best):
            return "checkpoint"
        if signals.urgent or signals.leave:
            return "snapshot"
        least = spec.snapshot_updates if self._pending is None else spec.snapshot_updates or _RETRY_UPDATES
        if least is not None and signals.due and update - self._last_saved >= least:
            return self._pending or "snapshot"
        return None

    def save(self, update: int, kind: StateKind, validation: dict[str, float] | None, guard: Guard) -> None:
        """Copy the state and write it in the background. Collective."""
        snapshot = snapshot_training_state(self._engine, self._extra())
        manifest = CheckpointManifest(
            update=update,
            epoch=self._epoch_after(update),
            world_size=self._engine.world_size,
            identity=self._identity,
            validation=validation,
            kind=kind,
            watchdog=guard.state,
            rollbacks=len(guard.interventions.rollbacks),
        )
        self.store.save(manifest, snapshot.write)
        self._kind = kind
        self._last_saved = update
        self._last_time = time.monotonic()
        self._pending = None
        self._overdue = False

    def settle(self) -> str | None:
        """Wait until the last save is committed, or give it up when it failed. Collective.

        Returns:
            Why it failed, or None.
        """
        if self._store is None:
            return None
        problems = gather_objects(self.store.share_problem)
        if not any(problems):
            # Only now: the first worker would otherwise wait for shares that never come.
            problem = None
            if self._first:
                try:
                    self.store.wait()
                except RunFailedError as error:
                    problem = error.message
            else:
                self.store.wait()
            problems = [broadcast_object(problem)]
        if not any(problems):
            return None
        return self._give_up(problems)

    def _give_up(self, problems: list[str | None]) -> str:
        self.store.drop()
        reason = next(problem for problem in problems if problem)
        self._event("checkpoint_failed", update=self._last_saved, kind=self._kind, reason=reason)
        self._pending = self._kind
        return reason

    def finish(self, update: int, validation: dict[str, float] | None, guard: Guard) -> None:
        """See the last save to its end, again and again within the spec's patience while the storage fails. Collective.

        Raises:
            RunFailedError: When it cannot be saved.
        """
        started = time.monotonic()
        problem = self.settle()
        if problem is None and (self._overdue or self._pending is not None):
            self.save(update, "checkpoint", validation, guard)
            problem = self.settle()
        while problem is not None:
            left_s = self._job.failure.storage_patience_s - (time.monotonic() - started)
            if not broadcast_object(left_s > 0):
                raise RunFailedError(
                    f"{self._run.place_of(self._run.checkpoints)}: the last save of the run failed for "
                    f"{self._job.failure.storage_patience_s:g} s: {problem}"
                )
            time.sleep(min(_RETRY_S, max(left_s, 0.0)))
            self.save(update, "checkpoint", validation, guard)
            problem = self.settle()
        self.store.close()

    def abandon(self) -> None:
        """Stop waiting for other workers; does nothing once finished."""
        if self._store is not None:
            self._store.abandon()

    def _committed(self, manifest: CheckpointManifest, path: Path, seconds: float) -> None:
        with contextlib.suppress(OSError):
            self._run.event(manifest.kind, update=manifest.update, path=path.name, write_s=round(seconds, 3))

    def find(self, guard: Guard) -> Found:
        """What there is to go on from. On the first worker."""
        run = self._run

        def report(path: Path, error: CheckpointError) -> None:
            run.event("checkpoint_damaged", checkpoint=path.name, reason=error.message)
            if is_snapshot(path):
                run.remove_state(path)

        last: dict[str, Any] = {}
        for last in read_lines(run.metrics):  # noqa: B007  (the last one is what is wanted)
            pass
        found = Found(last_update=int(last.get("update", 0)), last_time=float(last.get("time", 0.0)))
        try:
            found.interventions = record = guard.read()
            folder = newest_good(
                run.checkpoints, report, lambda m: record.is_current(m.update, m.rollbacks), run.fetch_state
            )
            if folder is not None:
                found.state = folder.name
                check_identity(read_manifest(folder).identity, self._identity, run.place)
                found.best_score = best_score(run.checkpoints, update_of(folder))
            elif damaged := list_states(run.checkpoints):
                found.problem = none_is_usable(run.checkpoints, len(damaged))
        except CheckpointError as error:
            found.problem = error.message
        return found

    def good_states(self, interventions: Interventions) -> dict[int, Path]:
        """States that lie on the run's path and whose files are whole. On the first worker."""
        good = {}
        for path in list_states(self._run.checkpoints):
            try:
                manifest = self._run.check_state(path)
            except CheckpointError:
                continue
            if interventions.is_current(manifest.update, manifest.rollbacks):
                good[manifest.update] = path
        return good

    def forget_after(self, update: int) -> None:
        """Delete states of a path that a rollback has abandoned. On the first worker."""
        for path in list_states(self._run.checkpoints):
            if update_of(path) > update:
                self._run.remove_state(path)
