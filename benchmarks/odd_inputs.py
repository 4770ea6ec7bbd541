"""Gives the commands broken and odd inputs by the hundred, and judges every answer.

An answer is right when the command refuses with a message (exit code 2 or 1, no traceback) what cannot be used, or
takes it and what it stored or read is what the input means, as known by whoever made it. Everything follows from the
seed: `--only NUMBER` makes one of them again.

Usage: python benchmarks/odd_inputs.py [--seed 1] [--count 1200] [--kinds NAME ...] [--only NUMBER ...]

Exit code 1 when an answer was a traceback, a silent loss, a wrong success, a hang or a refusal of what is in order.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from odd.kinds import KINDS
from odd.verdict import FAULTS, Category
from odd.worker import Outcome, outcomes


def table(found: list[Outcome]) -> str:
    """Counts of categories by kind, as Markdown."""
    categories = list(Category)
    lines = ["| kind | inputs | " + " | ".join(categories) + " |", "| --- |" + " --- |" * (len(categories) + 1)]
    counts = Counter((outcome.kind, outcome.verdict.category) for outcome in found)
    for name in dict.fromkeys(outcome.kind for outcome in found):
        row = [counts[name, category] for category in categories]
        lines.append(f"| {name} | {sum(row)} | " + " | ".join(map(str, row)) + " |")
    totals = [sum(outcome.verdict.category is category for outcome in found) for category in categories]
    lines.append(f"| all | {len(found)} | " + " | ".join(map(str, totals)) + " |")
    return "\n".join(lines)


def show(outcome: Outcome, *, verbose: bool) -> None:
    """Print an outcome."""
    verdict = outcome.verdict
    print(f"{outcome.number} [{outcome.kind} / {outcome.recipe}] {outcome.what}: {verdict.category}: {verdict.why}")
    if verbose:
        print("\n".join(f"    $ w2v2-ray {command}" for command in outcome.commands))
        print("\n".join(f"    {line}" for line in outcome.said.splitlines()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="NAME")
    parser.add_argument("--only", nargs="+", type=int, help="numbers to make again, with all that was said")
    parser.add_argument("--all", action="store_true", help="print the right answers, too")
    asked = parser.parse_args()
    started_s, found = time.monotonic(), []
    for outcome in outcomes(asked.seed, asked.only or list(range(asked.count)), tuple(asked.kinds)):
        found.append(outcome)
        if outcome.verdict.is_fault or asked.only or asked.all:
            show(outcome, verbose=bool(asked.only))
            sys.stdout.flush()
    print(f"\n{table(found)}\n\nseed {asked.seed}, {time.monotonic() - started_s:.0f} s")
    for outcome in sorted(found, key=lambda outcome: -outcome.wall_s)[:3]:
        print(f"slow: {outcome.wall_s:.1f} s for {outcome.number} [{outcome.kind} / {outcome.recipe}] {outcome.what}")
    faults = sum(outcome.verdict.category in FAULTS for outcome in found)
    sys.exit(f"{faults} of {len(found)} answers are not right" if faults else 0)


if __name__ == "__main__":
    main()
