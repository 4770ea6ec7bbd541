"""All kinds of odd inputs, and which number is of which kind."""

from __future__ import annotations

from odd import (
    addresses,
    audio_broken,
    audio_level,
    audio_sound,
    checkpoints,
    huggingface,
    lms,
    manifest_folders,
    manifest_jsonl,
    manifest_tables,
    spec_syntax,
    spec_values,
    texts,
)
from odd.attempt import Kind

KINDS = {
    kind.name: kind
    for kind in (
        Kind("audio that is odd", 8, audio_sound.RECIPES),
        Kind("audio that is broken", 10, audio_broken.RECIPES),
        Kind("audio levels", 4, audio_level.RECIPES),
        Kind("json lines", 6, manifest_jsonl.RECIPES),
        Kind("tables", 6, manifest_tables.RECIPES),
        Kind("folders", 4, manifest_folders.RECIPES),
        Kind("values in job specs", 8, spec_values.RECIPES),
        Kind("YAML of job specs", 6, spec_syntax.RECIPES),
        Kind("texts", 4, texts.RECIPES),
        Kind("language models", 4, lms.RECIPES),
        Kind("Hugging Face folders", 6, huggingface.RECIPES),
        Kind("checkpoints", 6, checkpoints.RECIPES),
        # Each takes seconds, as a process of its own.
        Kind("addresses", 1, addresses.RECIPES),
    )
}


def schedule(number: int, kinds: tuple[str, ...]) -> tuple[str, int]:
    """Kind of an attempt, and its place among those of the kind; kinds take turns by their weights."""
    turns: list[str] = []
    left = {name: float(KINDS[name].weight) for name in kinds}
    shares = dict(left)
    for _ in range(sum(KINDS[name].weight for name in kinds)):
        # The kind that is furthest behind its share is next, so that a few attempts hold some of each.
        name = max(left, key=lambda name: left[name] / shares[name])
        turns.append(name)
        left[name] -= 1.0
    turn, round_ = turns[number % len(turns)], number // len(turns)
    return turn, round_ * turns.count(turn) + turns[: number % len(turns)].count(turn)
