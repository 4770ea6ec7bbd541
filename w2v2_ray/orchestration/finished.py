"""Whether a run has nothing left to do, told from what it wrote."""

from __future__ import annotations

from pathlib import Path

from w2v2_ray.errors import UserError
from w2v2_ray.run.checkpoints.files import list_checkpoints, update_of
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.training.early_stopping import held_out_scores, should_stop
from w2v2_ray.training.objectives.registry import objective_of


def updates_made(run: RunFolder) -> int:
    """The update of the newest state that is kept; 0 where there is none."""
    return max((update_of(Path(name)) for name in run.state_names()), default=0)


def finished_at(job: TrainJob, run: RunFolder) -> int | None:
    """The update at which a run has ended for good, as far as this job goes; None when there is something left to do.

    Args:
        job: May ask for more updates than an earlier launch did.
        run: The run.
    """
    checkpoints = list_checkpoints(run.checkpoints)
    if not checkpoints or all(event["event"] != "end" for event in read_lines(run.events)):
        return None
    try:
        update = int(run.check_state(checkpoints[-1]).update)
    except (UserError, OSError):
        return None  # damaged, or out of reach: the workers go on from the one before
    if update >= job.updates:
        return update
    early_stopping = objective_of(job).early_stopping(job)
    if early_stopping is not None:
        scores = held_out_scores(read_lines(run.events), update)
        return update if should_stop(early_stopping, scores, update) else None
    return None
