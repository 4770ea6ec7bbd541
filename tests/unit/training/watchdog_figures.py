"""Figures of runs that are well, for the watchdog to look at, and what it says of them."""

from __future__ import annotations

import math
import random

from w2v2_ray.spec.watchdog import WatchdogSpec
from w2v2_ray.training.watch.watchdog import Watchdog

CHANCE = math.log2(101)


def watchdog(spec=None, **changes):
    world = {"codebooks": 2, "entries": 320, "negatives": 100, "warmup_updates": 32_000, "updates": 400_000}
    return Watchdog(spec or WatchdogSpec(), **(world | changes))


def healthy(update, rng=None, *, learns_at=500, **changes):
    """Figures as of published Base runs: at chance at first, then falling to 2.2 bits."""
    progress = 1.0 - math.exp(-max(0, update - learns_at) / 8_000)
    noise = rng.gauss(0.0, 1.0) if rng else 0.0
    contrastive = CHANCE - 4.4 * progress + noise * (0.003 + 0.08 * progress)
    return {
        "loss": contrastive + 0.12 + 2.0 * math.exp(-update / 50),
        "loss_contrastive": contrastive,
        "accuracy": 0.01 + 0.62 * progress,
        "prob_perplexity": 110 - 90 * progress * math.exp(-update / 20_000) + noise,
        "code_perplexity": 105 - 87 * progress * math.exp(-update / 20_000) + noise,
        "grad_norm": math.exp(0.4 * noise) * (0.03 + 1.2 * progress),
    } | changes


def verdicts(dog, series, start=1):
    found = (dog.observe(update, figures) for update, figures in enumerate(series, start))
    return [verdict for verdict in found if verdict is not None]


def told(found):
    return [(verdict.check, verdict.action) for verdict in found]


def warmed_up(spec=None, updates=2_000, **changes):
    dog = watchdog(spec, **changes)
    rng = random.Random(0)
    assert verdicts(dog, (healthy(u, rng) for u in range(1, updates + 1))) == []
    return dog


def after(updates, count, **changes):
    rng = random.Random(1)
    return [healthy(updates + i, rng, **changes) for i in range(1, count + 1)]
