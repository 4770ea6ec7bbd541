"""What rollbacks did to a run: which updates are passed over and how the learning rate is scaled.

The semantics are the simplest that do not depend on the number of workers. Training goes back to a checkpoint and on
from there; an update that is passed over is counted (its micro-batches keep their place in the stream and the epoch)
but not computed: nothing is read, weights, moments, Adam's step and the loss scale stay as they were. The learning
rate of every update after the checkpoint is scaled. Both are pure functions of the update's number and this record,
which belongs to the run and not to a checkpoint: it must be written before training goes on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from w2v2_ray.errors import CheckpointError
from w2v2_ray.spec.watchdog import WatchdogSpec
from w2v2_ray.training.watch.watchdog import SUDDEN, Verdict


@dataclass(frozen=True)
class Rollback:
    """One rollback.

    Attributes:
        check: Which check asked for it.
        from_update: Update at which it was decided.
        to_update: Update of the checkpoint that was loaded; 0 is the beginning.
        first_update: Update in which the incident began.
        skip_first: First update passed over from then on; 0 when none is.
        skip_last: The last one, inclusive.
        lr_scale: Factor on the learning rate of all updates after `to_update`.
    """

    check: str
    from_update: int
    to_update: int
    first_update: int
    skip_first: int
    skip_last: int
    lr_scale: float


@dataclass(frozen=True)
class Interventions:
    """All rollbacks of a run, oldest first."""

    rollbacks: tuple[Rollback, ...] = ()

    def lr_scale(self, update: int) -> float:
        """What the schedule's learning rate of an update is multiplied by."""
        return math.prod(rollback.lr_scale for rollback in self.rollbacks if rollback.to_update < update)

    def skips(self, update: int) -> bool:
        """Whether an update is passed over."""
        return any(0 < rollback.skip_first <= update <= rollback.skip_last for rollback in self.rollbacks)

    def is_current(self, update: int, rollbacks: int) -> bool:
        """Whether a checkpoint still lies on the run's path, or only on one that a rollback abandoned.

        Args:
            update: The checkpoint's.
            rollbacks: How many there had been when it was saved.
        """
        return all(update <= rollback.to_update for rollback in self.rollbacks[rollbacks:])

    def bound(self, verdict: Verdict, spec: WatchdogSpec) -> Verdict:
        """Turn the rollback that is one too many into a stop; other verdicts pass."""
        if verdict.action != "rollback" or len(self.rollbacks) < spec.max_rollbacks:
            return verdict
        done = len(self.rollbacks)
        why = f"watchdog.max_rollbacks: {spec.max_rollbacks} is used up" if done else "watchdog.max_rollbacks is 0"
        return replace(verdict, action="stop", message=f"{verdict.message}. The run stops, as {why}")

    def target(self, verdict: Verdict, checkpoints: Collection[int]) -> int | None:
        """Choose the checkpoint to roll back to: the newest from before the incident.

        When the run falls ill again soon after a rollback, that rollback's checkpoint was probably ill already, and
        an older one is preferred if there is one.

        Args:
            verdict: A rollback.
            checkpoints: Updates of those that exist, verify and are current.

        Returns:
            Its update; 0, the beginning, while the run has no checkpoint; None when all are from during or after the
            incident, and the run can only be stopped.
        """
        good = sorted(update for update in checkpoints if update < _first_harm(verdict))
        if not good:
            return None if checkpoints else 0
        if self.rollbacks:
            last = self.rollbacks[-1]
            soon = verdict.first_update <= last.from_update + (last.from_update - last.to_update)
            older = [update for update in good if update < last.to_update] if soon else []
            return max(older) if older else good[-1]
        return good[-1]

    def after(self, verdict: Verdict, to_update: int, spec: WatchdogSpec) -> Interventions:
        """Add a rollback.

        Args:
            verdict: A rollback that `bound` let pass.
            to_update: From `target`.
            spec: Says how much changes.

        Raises:
            ValueError: If the checkpoint is from during or after the incident, or there were enough rollbacks.
        """
        first = _first_harm(verdict)
        if verdict.action != "rollback" or not 0 <= to_update < first or len(self.rollbacks) >= spec.max_rollbacks:
            raise ValueError(f"no rollback to update {to_update} for {verdict}; ask `bound` and `target`")
        skips = spec.skip_updates and verdict.check in SUDDEN
        rollback = Rollback(
            check=verdict.check,
            from_update=verdict.update,
            to_update=to_update,
            first_update=verdict.first_update,
            skip_first=first if skips else 0,
            skip_last=verdict.update if skips else 0,
            lr_scale=spec.lr_factor,
        )
        return Interventions((*self.rollbacks, rollback))

    def to_json(self) -> list[dict[str, Any]]:
        """Plain JSON, for a file of the run."""
        return [asdict(rollback) for rollback in self.rollbacks]

    @classmethod
    def from_json(cls, document: Sequence[Any]) -> Interventions:
        """Read `to_json()`.

        Raises:
            CheckpointError: If it is something else.
        """
        try:
            return cls(tuple(Rollback(**entry) for entry in document))
        except TypeError as error:
            raise CheckpointError(f"the run's record of rollbacks cannot be used ({error})") from error


def _first_harm(verdict: Verdict) -> int:
    """The first update whose gradient may have done harm: what a loss shows, the update before it caused."""
    return max(1, verdict.first_update - 1) if verdict.check in SUDDEN else verdict.first_update
