"""What a launch changes of the spec that a run was launched with before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from w2v2_ray.errors import UserError
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.loading import load_job_of


@dataclass(frozen=True)
class SpecChange:
    """One field.

    Attributes:
        key: Dotted path.
        old: Its value at the last launch.
        new: Its value now.
    """

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"


def changes_of(job: TrainJob, run: RunFolder) -> list[SpecChange]:
    """Fields that differ from the run's `spec.yaml`; none where there is none, or one of another version.

    Args:
        job: As it is launched now, everything settled.
        run: The run.
    """
    if not run.spec.is_file():
        return []
    try:
        before = load_job_of(TrainJob, run.spec).job
    except UserError:
        return []
    old, new = (dict(_leaves(entry.model_dump(mode="json"))) for entry in (before, job))
    keys = [key for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)]
    return [SpecChange(key, old.get(key), new.get(key)) for key in keys]


def tell_changes(changes: list[SpecChange], run: RunFolder, made: int, notify: Callable[[str], None]) -> None:
    """Write each as an event and say it: a schedule that is changed on the way is not the one of a run from scratch.

    Args:
        changes: What differs.
        run: The run.
        made: Updates made so far.
        notify: Told of each.
    """
    for change in changes:
        run.event("spec_changed", key=change.key, old=change.old, new=change.new)
    if changes and made:
        listed = "; ".join(map(str, changes))
        notify(f"changed since this run was launched last, from update {made + 1} on: {listed}")
    if made and any(change.key == "worker.gpus" and (not change.old) != (not change.new) for change in changes):
        notify("the run goes on on another kind of processor: it is equal bit for bit on one kind only")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
