"""Runs the product on every folder of faults that users met, and prints what each is answered.

Each folder is copied, the real `w2v2-ray` commands run in the copy, and what they print, their exit codes and what
they stored are checked. It ends with a table.

Usage: python benchmarks/cases.py CASES_DIR [--only NAME ...]

Exit code 1 when a check fails, a command does not end in time, or a folder has no check.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from odd.answer import Answer, run_command
from odd.case_checks import Case, cases
from odd.verdict import trouble
from odd.workbench import Workbench

_SHOWN_LINES = 12


def run(case: Case, source: Path, folder: Path) -> tuple[list[Answer], str]:
    """Run a case in a copy of its folder; returns the answers and what is wrong with them."""
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    (folder / "README").unlink(missing_ok=True)
    answers = []
    for command in case.commands:
        answers.append(run_command(command, folder, case.environment, case.limit_s))
        show(answers[-1], folder)
    wrong = next((found for answer in answers if (found := trouble(answer)) is not None), None)
    if wrong is not None:
        return answers, f"{wrong.category}: {wrong.why}"
    try:
        return answers, case.check(answers, folder)
    except Exception:  # what a check cannot read is not what was wanted
        return answers, f"not as expected: {traceback.format_exc().splitlines()[-1]}"


def show(answer: Answer, folder: Path) -> None:
    """Print a command, what it said, and its exit code."""
    print(f"$ w2v2-ray {shlex.join(answer.arguments)}")
    lines = [line.rstrip() for line in answer.said.replace(str(folder), ".").splitlines() if line.strip()]
    for line in lines[:_SHOWN_LINES]:
        print(f"  {line[:200]}")
    if len(lines) > _SHOWN_LINES:
        print(f"  ... {len(lines) - _SHOWN_LINES} lines more")
    print(f"  [{'no end in time' if answer.exit_code is None else f'exit {answer.exit_code}'}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases_dir", type=Path, metavar="CASES_DIR")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="folders to run")
    asked = parser.parse_args()
    found = sorted(path.name for path in asked.cases_dir.iterdir() if path.is_dir())
    names = [name for name in found if not asked.only or name in asked.only]
    if not names:
        sys.exit(f"{asked.cases_dir}: no such cases in it")
    rows, failed = [], 0
    with tempfile.TemporaryDirectory(prefix="cases-") as temporary:
        bench = Workbench(Path(temporary) / "bench")
        bench.root.mkdir()
        known = cases(bench)
        for name in names:
            print(f"\n=== {name}")
            if name not in known:
                rows.append((name, "", "", "no check is written for it"))
                failed += 1
                continue
            answers, wrong = run(known[name], asked.cases_dir / name, Path(temporary) / name)
            print(f"  {'WRONG: ' + wrong if wrong else 'right'} (wanted: {known[name].wanted})", flush=True)
            failed += bool(wrong)
            codes = ", ".join("none" if answer.exit_code is None else str(answer.exit_code) for answer in answers)
            rows.append((name, known[name].wanted, codes, wrong or "right"))
    print("\n| case | wanted | exit codes | verdict |\n| --- | --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ")[:160] for cell in row) + " |")
    print(f"\n{len(rows) - failed} of {len(rows)} right")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
