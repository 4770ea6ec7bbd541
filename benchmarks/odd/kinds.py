"""All kinds of odd inputs, and which number is of which kind."""

from __future__ import annotations

from odd import (
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
        Kind("audio that is odd", 4, audio_sound.RECIPES),
        Kind("audio that is broken", 5, audio_broken.RECIPES),
        Kind("audio levels", 2, audio_level.RECIPES),
        Kind("json lines", 3, manifest_jsonl.RECIPES),
        Kind("tables", 3, manifest_tables.RECIPES),
        Kind("folders", 2, manifest_folders.RECIPES),
        Kind("values in job specs", 4, spec_values.RECIPES),
        Kind("YAML of job specs", 3, spec_syntax.RECIPES),
        Kind("texts", 2, texts.RECIPES),
        Kind("language models", 2, lms.RECIPES),
        Kind("Hugging Face folders", 3, huggingface.RECIPES),
        Kind("checkpoints", 3, checkpoints.RECIPES),
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
