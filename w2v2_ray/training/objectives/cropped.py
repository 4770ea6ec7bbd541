"""Crops of audio with masked spans: what objectives that predict what is masked share."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from w2v2_ray.data.batch_plan import BatchPlan
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.model.masking import BoolArray
from w2v2_ray.spec.job import MaskedJob
from w2v2_ray.training.objectives.mask_drawing import draw_time_mask

_DRAWN_SUB_BATCHES = 128
"""Sub-batches, evenly spread over the lengths, for which masks are drawn to estimate masked frames."""


def build_plan(
    job: MaskedJob, num_samples: np.ndarray, streams: RandomStreams, *, validation: bool = False
) -> BatchPlan:
    """The job's batch plan over utterances of these lengths.

    Validation runs its sub-batches one by one, in a fixed order.

    Shape: num_samples [utterances].
    """
    return BatchPlan(
        num_samples,
        max_tokens=job.batch.max_tokens,
        size_multiple=job.batch.size_multiple,
        max_utterances=job.batch.max_utterances,
        concat=1 if validation else job.batch.concat,
        min_samples=job.batch.min_samples,
        max_samples=job.batch.max_samples,
        streams=streams,
        curriculum_epochs=0 if validation else job.batch.curriculum_epochs,
    )


def mask_drawer(job: MaskedJob, plan: BatchPlan, streams: RandomStreams) -> Callable[[int], tuple[BoolArray, ...]]:
    """A function that gives the masks of each of a micro-batch's sub-batches, [b, T]; it remembers the newest."""
    masking, encoder = job.model.masking, job.model.feature_encoder

    def masks(index: int) -> tuple[BoolArray, ...]:
        micro_batch = plan.micro_batch(index)
        frames = encoder.num_frames(micro_batch.crop_samples)
        rng = streams.generator(Purpose.MASK, index)
        return tuple(draw_time_mask(rng, masking, size, frames) for size in micro_batch.sub_batch_sizes)

    return lru_cache(maxsize=4 * job.batch.micro_batches_per_update + 8)(masks)


def cropped_shapes(plan: BatchPlan) -> tuple[np.ndarray, np.ndarray]:
    """Utterances and samples of each of an epoch's sub-batches, cropped to the shortest of their micro-batch."""
    counts, shortest = plan.sub_batch_shapes()
    starts = np.arange(0, len(counts), plan.concat)
    crops = np.repeat(np.minimum.reduceat(shortest, starts), plan.concat)[: len(counts)]
    return counts.astype(np.int64), crops.astype(np.int64)


def frames_per_sub_batch(job: MaskedJob, counts: np.ndarray, crops: np.ndarray) -> tuple[float, float]:
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
        masked += int(draw_time_mask(rng, masking, rows, columns).sum())
        seen += rows * columns
    mean_frames = float((counts * frames).mean())
    return mean_frames, mean_frames * masked / seen
