"""When a run may end before its last update: its held-out score no longer falls. A pure policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from w2v2_ray.run.checkpoints.files import score
from w2v2_ray.spec.finetune import EarlyStoppingSpec


def held_out_scores(events: Iterable[Mapping[str, Any]], update: int) -> dict[int, float]:
    """Scores of a run's validations up to an update, by update; of one measured twice the later."""
    scores = {}
    for event in events:
        if event.get("event") == "validation" and int(event["update"]) <= update:
            scores[int(event["update"])] = score({k: v for k, v in event.items() if isinstance(v, (int, float))})
    return scores


def should_stop(spec: EarlyStoppingSpec, scores: Mapping[int, float], update: int) -> bool:
    """Whether the best score is `patience` validations old.

    Args:
        spec: Patience, and the update before which the answer is no.
        scores: By update, lower is better.
        update: The latest.
    """
    if update < spec.min_updates or not scores:
        return False
    best = min(scores, key=lambda at: (scores[at], at))
    return sum(at > best for at in scores) >= spec.patience
