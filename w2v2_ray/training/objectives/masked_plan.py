"""What a job that predicts what is masked will do; imports neither torch nor deepspeed."""

from __future__ import annotations

from collections.abc import Mapping

from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.spec.job import MaskedJob
from w2v2_ray.training.objectives.cropped import build_plan, cropped_shapes, frames_per_sub_batch
from w2v2_ray.training.objectives.data import open_data
from w2v2_ray.training.run_plan import RunPlan, assemble


def plan_masked(job: MaskedJob, parameters: Mapping[str, int]) -> RunPlan:
    """Read the dataset's index and work out the run.

    Args:
        job: The spec.
        parameters: By part of the model.

    Raises:
        DatasetError: A dataset is missing or damaged, or has no utterance that is long enough.
    """
    mixture = open_data(job, job.data.train, verify="sizes")
    plan = build_plan(job, mixture.num_samples, RandomStreams(job.seed))
    counts, crops = cropped_shapes(plan)
    frames, masked = frames_per_sub_batch(job, counts, crops)
    return assemble(
        job,
        mixture,
        plan,
        forwarded_samples=int((counts * crops).sum()),
        frames_per_sub_batch=frames,
        masked_per_sub_batch=masked,
        parameters=parameters,
    )
