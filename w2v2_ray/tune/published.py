"""The published Hourglass table: Base pre-training on one A100 80GB, bf16 (reference section 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """One line of the table.

    Attributes:
        speed_up: Against no Hourglass.
        memory_percent: Of no Hourglass.
    """

    speed_up: float
    memory_percent: float


PUBLISHED_FACTORS: dict[int | None, Published] = {
    None: Published(1.0, 100.0),
    2: Published(1.25, 70.98),
    3: Published(1.33, 64.31),
    4: Published(1.37, 62.35),
    5: Published(1.39, 60.00),
    6: Published(1.40, 59.61),
}
"""Shortening factor, None for no Hourglass, to what was published."""

_LAYOUT = {"pre_layers": 2, "middle_layers": 8, "post_layers": 2, "resample": "naive"}


def published_for(job: Mapping[str, Any], baseline: Mapping[str, Any]) -> Published | None:
    """The published line for a configuration, where the table has it.

    It has the layers [2, (8, k), 2] and plain stacks of twelve, against a baseline without the Hourglass that differs
    in nothing else.
    """
    if _hourglass(baseline) is not None or _without_hourglass(job) != _without_hourglass(baseline):
        return None
    if job["model"]["encoder"]["layers"] != 12:
        return None
    hourglass = _hourglass(job)
    if hourglass is None:
        return PUBLISHED_FACTORS[None]
    if {key: hourglass[key] for key in _LAYOUT} != _LAYOUT:
        return None
    return PUBLISHED_FACTORS.get(hourglass["shorten_factor"])


def _hourglass(job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = job["model"]["encoder"]["hourglass"] if job.get("model") else {}
    return found


def _without_hourglass(job: Mapping[str, Any]) -> dict[str, Any]:
    model = job.get("model") or {}
    encoder = {key: value for key, value in model.get("encoder", {}).items() if key != "hourglass"}
    return {**job, "model": {**model, "encoder": encoder}}
