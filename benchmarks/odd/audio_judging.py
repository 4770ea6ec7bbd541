"""Judges what became of an audio file whose content is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from odd.answer import Answer
from odd.attempt import Attempt
from odd.sound import Signal, compare
from odd.stored import rejects_of, rows_of
from odd.verdict import RIGHT, Verdict, refused, silent_loss, told, worst, wrong_success
from odd.workbench import Workbench

AUDIO = "audio"
_MOST_LAG_S = 0.16


@dataclass(frozen=True)
class Expected:
    """What is known of an audio file.

    Args:
        meant: The signals in it, one after the other; empty when there is nothing in it that could be used.
        slack_s: By how much its length may differ.
        lossy: Whether samples come back changed.
        must: It is in order, and may not be refused.
        told_by: What must be said when it is kept although something is wrong; nothing need be wrong when empty.
        level_db: Lowest and highest level over what was meant.
        heard: Whether `transcribe` is asked, too, how long it is.
        alike: Least share of it that is as it was meant.
    """

    meant: tuple[Signal, ...]
    slack_s: float = 0.002
    lossy: bool = False
    must: bool = False
    told_by: tuple[str, ...] = ()
    level_db: tuple[float, float] = (-1.5, 1.5)
    heard: bool = True
    alike: float = 0.9


def attempt(
    what: str, path: Path, expected: Expected, folder: Path, bench: Workbench, options: Sequence[str] = ()
) -> Attempt:
    """Prepare the folder of a file, and transcribe the file."""
    prepare = ("prepare", AUDIO, "--out", "out", *options)
    # A name that begins with a dash would be an option.
    name = f"./{path.relative_to(folder)}"
    transcribe = ("transcribe", str(bench.recogniser), name, "--format", "jsonl", "--device", "cpu")

    def judge(answers: Sequence[Answer]) -> Verdict:
        verdicts = [_prepared(answers[0], expected, folder / "out")]
        verdicts += [_heard(answer, expected) for answer in answers[1:]]
        return worst(verdicts)

    return Attempt(what, (prepare, transcribe) if expected.heard else (prepare,), judge)


def _prepared(answer: Answer, expected: Expected, out: Path) -> Verdict:
    if answer.exit_code:
        if any(not reject["detail"] for reject in rejects_of(out)):
            return Verdict(refused(answer, may=False).category, "a reject without a detail")
        verdict = refused(answer, may=not expected.must)
        reasons = "; ".join(f"{reject['reason']}: {reject['detail']}" for reject in rejects_of(out))
        return Verdict(verdict.category, reasons[:300] or verdict.why)
    rows = rows_of(out)
    if len(rows) != 1:
        return silent_loss(f"{len(rows)} utterances stored of 1 file, and exit code 0")
    was_told = bool(expected.told_by) and told(answer, expected.told_by)
    if not expected.meant:
        if was_told:
            return RIGHT
        return wrong_success(f"{rows[0].seconds:.3f} s stored of what holds nothing that can be used")
    found = compare(rows[0].samples, expected.meant, lossy=expected.lossy)
    if expected.told_by and not was_told:
        return silent_loss(f"{found}; nobody was told")
    if found.stored_s < found.meant_s - expected.slack_s - 0.001:
        return silent_loss(str(found))
    low, high = expected.level_db
    right = (
        found.stored_s <= found.meant_s + expected.slack_s + 0.001
        and found.alike >= expected.alike
        and (low <= found.level_db <= high or was_told)
        and abs(found.lag_s) <= max(expected.slack_s, 0.0) + _MOST_LAG_S * expected.lossy
    )
    return Verdict(RIGHT.category, str(found)) if right else wrong_success(f"{found}, {found.lag_s:+.3f} s late")


def _heard(answer: Answer, expected: Expected) -> Verdict:
    if answer.exit_code:
        return refused(answer, may=not expected.must)
    meant_s = sum(signal.seconds for signal in expected.meant)
    heard_s = float(json.loads(answer.out.splitlines()[0])["duration_s"])
    if not expected.meant:
        return wrong_success(f"transcribed as {heard_s} s of what holds nothing that can be used")
    if heard_s < meant_s - expected.slack_s - 0.011:
        return silent_loss(f"transcribe hears {heard_s} s of {meant_s:.3f} s")
    if heard_s > meant_s + expected.slack_s + 0.011:
        return wrong_success(f"transcribe hears {heard_s} s of {meant_s:.3f} s")
    return RIGHT
