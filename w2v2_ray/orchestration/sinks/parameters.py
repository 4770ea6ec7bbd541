"""What experiment trackers are told of a job and of its records."""

from __future__ import annotations

from typing import Any

from w2v2_ray.spec.job import TrainJob

_NOT_MEASURED = ("update", "time", "event")


def flat_parameters(job: TrainJob) -> dict[str, str]:
    """The spec's fields by dotted path."""
    flat: dict[str, str] = {}

    def visit(value: Any, path: str) -> None:
        if isinstance(value, dict) and value:
            for name, child in value.items():
                visit(child, f"{path}.{name}" if path else name)
        else:
            flat[path] = str(value)

    visit(job.model_dump(mode="json"), "")
    return flat


def numbers(record: dict[str, Any]) -> dict[str, float]:
    """What a record measured."""
    return {
        name: float(value)
        for name, value in record.items()
        if name not in _NOT_MEASURED and isinstance(value, (int, float))
    }
