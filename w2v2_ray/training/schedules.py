"""Learning rate and Gumbel temperature as functions of the update. Pure, so a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from w2v2_ray.spec.model import QuantizerSpec
from w2v2_ray.spec.optim import OptimSpec


def learning_rate(optim: OptimSpec, updates: int, update: int, *, like_reference: bool = False) -> float:
    """Learning rate of update number `update`.

    Source: reference policies `poly` and `exp` (section 5; values in golden/recipe.json).

    Args:
        optim: Peak and policy.
        updates: Updates of the whole run.
        update: From 1.
        like_reference: An update late, since the reference sets the rate after a step for the next one, as if for the
            step just made; and `poly` decays as if it had not held, from which it jumps where the hold ends.
    """
    schedule = optim.schedule
    if like_reference:
        update = max(update - 1, 1)
    if update <= schedule.warmup_updates:
        ramp = update / schedule.warmup_updates
        return optim.lr * (schedule.initial_scale + (1.0 - schedule.initial_scale) * ramp)
    decay_start = schedule.warmup_updates + schedule.hold_updates
    if update <= decay_start:
        return optim.lr
    if like_reference and schedule.policy == "poly":
        decay_start = schedule.warmup_updates
    progress = min((update - decay_start) / max(updates - decay_start, 1), 1.0)
    if schedule.policy == "exp":
        return optim.lr * math.exp(math.log(schedule.final_scale) * progress)
    remaining = float((1.0 - progress) ** schedule.power)
    return optim.lr * (schedule.final_scale + (1.0 - schedule.final_scale) * remaining)


def gumbel_temperature(quantizer: QuantizerSpec, update: int, *, like_reference: bool = False) -> float:
    """Temperature of the quantizer during update number `update`, from 1.

    Source: wav2vec 2.0 section 4.2; reference `latent_temp`. The first update runs at the start value; in the reference
    it is one decay below.
    """
    decayed = quantizer.temperature_start * quantizer.temperature_decay ** (update if like_reference else update - 1)
    return max(decayed, quantizer.temperature_stop)
