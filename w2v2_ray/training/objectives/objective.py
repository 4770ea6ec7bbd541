"""What every kind of training provides; its folder beside this file holds the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from w2v2_ray.errors import SpecError
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.finetune import EarlyStoppingSpec
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.training.run_plan import RunPlan
from w2v2_ray.training.watch.watched import Watched

if TYPE_CHECKING:
    import torch

    from w2v2_ray.training.objectives.task import Training

J = TypeVar("J", bound=TrainJob)


class Objective(Generic[J]):
    """One kind of training: from its spec to what the trainer runs. Subclasses fill in what differs.

    Methods import torch only where they compute, so that `plan` can stay quick.
    """

    def begin(self, job: J, run: RunFolder) -> J:
        """Settle what a run begins from, once, in its folder; on the driver.

        Returns:
            The job, beginning from the run's own copy.

        Raises:
            UserError: When that cannot be read, or the run began from something else.
        """
        return job

    def keeps_start(self, job: J) -> bool:
        """Whether the run's folder holds what it begins from, which every node then needs."""
        return False

    def localised(self, job: J, run: RunFolder) -> J:
        """The job with what its run begins from as paths on this node, where the run is on an object store."""
        return job

    def check(self, job: J) -> dict[str, Any]:
        """See that a job can train on its datasets, before anything starts.

        Returns:
            By `train` and `validation`, a dataclass that counts what becomes of their utterances, where any may be
            left out.

        Raises:
            DatasetError: When it cannot.
        """
        raise NotImplementedError

    def set_up(self, job: J, run: RunFolder, device: torch.device) -> Training:
        """Build a job's model and open its data, on a worker.

        Raises:
            UserError: When the data or the initial model cannot be used.
        """
        raise NotImplementedError

    def set_up_on_noise(self, job: J, longest_s: tuple[float, float] | None, device: torch.device) -> Training:
        """Build a job's model on audio that is made up, to measure its speed; see `throughput.Request`.

        Raises:
            SpecError: When the objective cannot do without real data.
        """
        raise SpecError("throughput.audio: noise has no transcripts to fine-tune on; use audio: dataset")

    def plan(self, job: J) -> RunPlan:
        """Work out a run from its spec and the dataset's index; nothing is written.

        Raises:
            UserError: When a dataset or what it begins from cannot be used.
        """
        raise NotImplementedError

    def watched(self, job: J) -> Watched:
        """What the watchdog looks at beside the loss."""
        return Watched()

    def early_stopping(self, job: J) -> EarlyStoppingSpec | None:
        """When a run may end before its last update."""
        return None
