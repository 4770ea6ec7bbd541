"""How a dataset came about: what `prepare` was told, what it read, and what it left out."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from w2v2_ray.data.ingestion.ingest_plan import Reject
from w2v2_ray.data.schema import INGEST_NAME, REJECTS_NAME
from w2v2_ray.places.storage import Location

_EXAMPLES = 5


@dataclass(frozen=True)
class RejectExample:
    """A file that was left out.

    Args:
        id: Of the utterance.
        path: Relative to the source.
        detail: What was wrong.
    """

    id: str
    path: str
    detail: str


@dataclass(frozen=True)
class RejectsFor:
    """What was left out for one reason.

    Args:
        reason: A `RejectReason`.
        count: How many.
        examples: The first ones.
    """

    reason: str
    count: int
    examples: tuple[RejectExample, ...]


def read_record(location: Location) -> dict[str, Any] | None:
    """What ingest.json says of settings and source; None where it is missing or not to be understood."""
    place = location / INGEST_NAME
    if not place.exists():
        return None
    try:
        record = json.loads(place.read_bytes())
    except ValueError:
        return None
    return {name: value for name, value in record.items() if name != "key"} if isinstance(record, dict) else None


def read_rejects(location: Location) -> tuple[RejectsFor, ...]:
    """Count rejects.jsonl by reason, most frequent first; lines of another form are passed over."""
    place = location / REJECTS_NAME
    if not place.exists():
        return ()
    counts: dict[str, int] = {}
    examples: dict[str, list[RejectExample]] = {}
    for line in io.BytesIO(place.read_bytes()):
        try:
            found = Reject.model_validate_json(line)
        except ValidationError:
            continue
        counts[found.reason] = counts.get(found.reason, 0) + 1
        kept = examples.setdefault(found.reason, [])
        if len(kept) < _EXAMPLES:
            kept.append(RejectExample(found.id, found.path, found.detail))
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(RejectsFor(reason, count, tuple(examples[reason])) for reason, count in ordered)
