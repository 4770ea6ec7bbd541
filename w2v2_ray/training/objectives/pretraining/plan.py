"""What a pre-training job will do; imports neither torch nor deepspeed."""

from __future__ import annotations

import numpy as np

from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.mixture import open_mixture
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.model.masking import span_mask
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.parameter_count import count_parameters
from w2v2_ray.training.run_plan import RunPlan, assemble

_DRAWN_SUB_BATCHES = 128
"""Sub-batches, evenly spread over the lengths, for which masks are drawn to estimate masked frames."""


def plan_pretraining(job: PretrainJob) -> RunPlan:
    """Read the dataset's index and work out the run.

    Raises:
        DatasetError: A dataset is missing or damaged, or has no utterance that is long enough.
    """
    data = job.data
    mixture = open_mixture([(ref.path, ref.repeat) for ref in data.train], "sizes", data.cache_dir, data.cache_bytes)
    batch = job.batch
    plan = BatchPlan(
        mixture.num_samples,
        max_tokens=batch.max_tokens,
        size_multiple=batch.size_multiple,
        concat=batch.concat,
        min_samples=batch.min_samples,
        max_samples=batch.max_samples,
        streams=RandomStreams(job.seed),
    )
    counts, crops = _cropped_shapes(plan)
    frames, masked = _frames_per_sub_batch(job, counts, crops)
    return assemble(
        job,
        mixture,
        plan,
        forwarded_samples=int((counts * crops).sum()),
        frames_per_sub_batch=frames,
        masked_per_sub_batch=masked,
        parameters=count_parameters(job.model),
    )


def _cropped_shapes(plan: BatchPlan) -> tuple[np.ndarray, np.ndarray]:
    """Utterances and samples of each of an epoch's sub-batches, cropped to the shortest of their micro-batch."""
    counts, shortest = plan.sub_batch_shapes()
    starts = np.arange(0, len(counts), plan.concat)
    crops = np.repeat(np.minimum.reduceat(shortest, starts), plan.concat)[: len(counts)]
    return counts.astype(np.int64), crops.astype(np.int64)


def _frames_per_sub_batch(job: PretrainJob, counts: np.ndarray, crops: np.ndarray) -> tuple[float, float]:
    """Mean frames and expected masked frames of a sub-batch.

    The masked share depends on length and on how many rows are thinned to the least masked one; it has no closed
    form, so masks are drawn for a spread of sub-batches and the share is applied to all of them.
    """
    encoder, masking = job.model.feature_encoder, job.model.masking
    lengths, inverse = np.unique(crops, return_inverse=True)
    frames = np.asarray([encoder.num_frames(int(length)) for length in lengths])[inverse]
    picks = np.unique(np.linspace(0, len(counts) - 1, _DRAWN_SUB_BATCHES).round().astype(int))
    rng = RandomStreams(job.seed, "plan").generator(Purpose.MASK)
    draws = -(-_DRAWN_SUB_BATCHES // len(picks))
    masked = seen = 0
    for pick in np.repeat(picks, draws):
        rows, columns = int(counts[pick]), int(frames[pick])
        masked += int(span_mask(rng, rows, columns, masking.probability, masking.length_frames).sum())
        seen += rows * columns
    mean_frames = float((counts * frames).mean())
    return mean_frames, mean_frames * masked / seen
