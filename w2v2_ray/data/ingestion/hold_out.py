"""Which utterances are held out of training to judge by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.errors import DatasetError

_LARGEST_OVERSHOOT = 1.5  # of the share asked for, before a group is passed by for a smaller one


@dataclass(frozen=True)
class Division:
    """A source in two parts.

    Args:
        kept: Utterances to train on, in the order of the source.
        held_out: Utterances to judge by, in the order of the source.
        unit: What is wholly in one part: "speakers", "recordings" or "utterances".
        held_out_units: How many of them are held out.
        units: How many there are.
    """

    kept: list[SourceItem]
    held_out: list[SourceItem]
    unit: str
    held_out_units: int
    units: int

    def __str__(self) -> str:
        total = len(self.kept) + len(self.held_out)
        return (
            f"{self.held_out_units:,} of {self.units:,} {self.unit}, {len(self.held_out):,} of {total:,} utterances "
            f"({len(self.held_out) / total:.1%})"
        )


def divide(items: Sequence[SourceItem], share: float, seed: int = 0, *, by_speaker: bool = True) -> Division:
    """Hold out about a share of the utterances: whole speakers where there are several, else whole recordings.

    The choice depends on names and the seed only: not on the order of the items, nor on who decodes them. Utterances
    without a speaker count by their recording; the utterances of a single recording by themselves.

    Args:
        items: The source.
        share: Of the utterances, between 0 and 1.
        seed: Another one makes another choice.
        by_speaker: False divides by recording although speakers are known.

    Raises:
        DatasetError: The share is not between 0 and 1, or there is one utterance only.
    """
    if not 0 < share < 1:
        raise DatasetError(f"--hold-out {share:g}: a share between 0 and 1 is wanted, such as 0.05")
    speakers = {item.speaker for item in items if item.speaker is not None}
    ways: list[tuple[str, Callable[[SourceItem], str]]] = [
        ("recordings", lambda item: f"recording {item.source}"),
        ("utterances", lambda item: f"utterance {item.id}"),
    ]
    if by_speaker and len(speakers) > 1:
        ways.insert(0, ("speakers", _speaker_or_recording))
    for unit, group_of in ways:
        groups: dict[str, int] = {}
        for item in items:
            groups[group_of(item)] = groups.get(group_of(item), 0) + 1
        if len(groups) > 1:
            chosen = _choose(groups, share * len(items), seed)
            kept = [item for item in items if group_of(item) not in chosen]
            held_out = [item for item in items if group_of(item) in chosen]
            return Division(kept, held_out, unit, len(chosen), len(groups))
    raise DatasetError(f"--hold-out {share:g}: there is {len(items)} utterance, which cannot be in two parts")


def _speaker_or_recording(item: SourceItem) -> str:
    return f"speaker {item.speaker}" if item.speaker is not None else f"recording {item.source}"


def _choose(groups: dict[str, int], wanted: float, seed: int) -> set[str]:
    """Groups that have about the wanted number of utterances together, at least one and never all."""
    order = sorted(groups, key=lambda name: hashlib.sha256(f"hold-out {seed} {name}".encode()).digest())
    chosen: set[str] = set()
    count = 0
    for name in order:
        if len(chosen) + 1 == len(groups) or count >= wanted:
            break
        if count + groups[name] <= wanted * _LARGEST_OVERSHOOT:
            chosen.add(name)
            count += groups[name]
    return chosen or {min(order, key=lambda name: groups[name])}
