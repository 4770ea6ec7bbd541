"""Carries out what the watchdog decides: warnings become events, a stop ends the run, a rollback is handed up.

Every worker holds one, sees the same figures, and comes to the same end.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from w2v2_ray.errors import CheckpointError, RunFailedError
from w2v2_ray.places.durable import write_text
from w2v2_ray.run import names
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.training.watch.interventions import Interventions
from w2v2_ray.training.watch.watchdog import Verdict, Watchdog
from w2v2_ray.training.watch.watched import Watched


class _Event(Protocol):
    def __call__(self, name: str, **details: Any) -> None: ...


class RollbackNeeded(Exception):  # noqa: N818  (not an error: the loop goes back and on)
    """Training is to go back to an earlier state."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


class Guard:
    """The watchdog of one worker, and the run's record of rollbacks.

    Args:
        job: The spec.
        watched: What its objective has that may go wrong.
        folder: The run's folder.
        event: Writes an event, on the first worker only.
    """

    def __init__(self, job: TrainJob, watched: Watched, folder: Path, event: _Event) -> None:
        self._job = job
        self._watched = watched
        self._path = folder / names.INTERVENTIONS
        self._event = event
        self._watchdog = self._new_watchdog()
        self.interventions = Interventions()

    def _new_watchdog(self) -> Watchdog:
        job = self._job
        return Watchdog(
            job.watchdog,
            codebooks=self._watched.codebooks,
            entries=self._watched.entries,
            negatives=self._watched.negatives,
            warmup_updates=job.optim.schedule.warmup_updates,
            updates=job.updates,
        )

    def read(self) -> Interventions:
        """The run's record of rollbacks, from its folder.

        Raises:
            CheckpointError: When it cannot be read.
        """
        try:
            return Interventions.from_json(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return Interventions()
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self._path}: the run's record of rollbacks cannot be read ({error})") from error

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Judge on from a checkpoint's state; None begins anew."""
        self._watchdog = self._new_watchdog()
        if state is not None:
            self._watchdog.load_state_dict(state)

    @property
    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return self._watchdog.state_dict()

    @property
    def uneasy(self) -> bool:
        """A state saved now may already be ill."""
        return self._watchdog.uneasy

    def observe(self, update: int, figures: Mapping[str, float]) -> None:
        """Judge an update's figures.

        Raises:
            RunFailedError: When the run is to stop.
            RollbackNeeded: When it is to go back.
        """
        verdict = self._watchdog.observe(update, figures)
        if verdict is None:
            return
        verdict = self.interventions.bound(verdict, self._job.watchdog)
        self._event("watchdog", **verdict.event())
        if verdict.action == "stop":
            raise RunFailedError(f"watchdog ({verdict.check}): {verdict.message}")
        if verdict.action == "rollback":
            raise RollbackNeeded(verdict)

    def choose(self, verdict: Verdict, updates: Collection[int]) -> int | None:
        """Choose the state to go back to and write down that it is done. On the worker that decides.

        Args:
            verdict: What asked for it.
            updates: Those of the good states.

        Returns:
            The state's update; None when no state is from before the incident.
        """
        target = self.interventions.target(verdict, updates)
        if target is None or target not in updates:
            return None
        record = self.interventions.after(verdict, target, self._job.watchdog)
        write_text(self._path, json.dumps(record.to_json(), indent=1))
        self._event("rollback", update=verdict.update, to_update=target, check=verdict.check)
        return target

    def go_back(self, verdict: Verdict, target: int | None) -> int:
        """Take over what `choose` chose.

        Returns:
            The state's update.

        Raises:
            RunFailedError: When no state is from before the incident.
        """
        if target is None:
            raise RunFailedError(
                f"watchdog ({verdict.check}): {verdict.message}. There is no checkpoint from before update "
                f"{verdict.first_update} to go back to; set checkpoint.snapshot_updates to have them"
            )
        self.interventions = self.interventions.after(verdict, target, self._job.watchdog)
        return target
