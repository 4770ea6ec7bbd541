"""What a job of any kind will do."""

from __future__ import annotations

from w2v2_ray.spec.finetune import FinetuneJob
from w2v2_ray.spec.job import PretrainJob, TrainJob
from w2v2_ray.training.run_plan import RunPlan, plan_pretraining


def make_plan(job: TrainJob) -> RunPlan:
    """Work out a run from its spec and the dataset's index; nothing is written.

    Raises:
        UserError: A dataset is missing or damaged, or has no utterance that can be used; of a fine-tuning job, also
            when what it begins from cannot be read or does not fit.
        TypeError: For a kind of job that has no plan.
    """
    if isinstance(job, PretrainJob):
        return plan_pretraining(job)
    if isinstance(job, FinetuneJob):
        from w2v2_ray.training.finetune_plan import plan_finetuning  # opens the model, and imports torch for it

        return plan_finetuning(job)
    raise TypeError(f"no plan for {type(job).__name__}")
