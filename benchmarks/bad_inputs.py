"""Prints a Markdown table of bad job specs and the messages that `w2v2-ray validate` gives for them.

The cases are those of tests/unit/spec/bad_specs.yaml, where a test holds the program to the same messages.

Usage: python benchmarks/bad_inputs.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.loading import load_job_text

CASES = Path(__file__).resolve().parents[1] / "tests" / "unit" / "spec" / "bad_specs.yaml"
GOOD = "kind: pretrain\nname: x\ndata: {train: a}\n"


def message_for(case: dict[str, Any]) -> str:
    """What the command says about a case.

    Raises:
        RuntimeError: When it finds nothing wrong.
    """
    try:
        load_job_text(case.get("job", GOOD), "job.yaml", case.get("set", ()))
    except SpecError as error:
        return error.message
    raise RuntimeError(f"{case['name']}: was accepted")


def main() -> None:
    cases: list[dict[str, Any]] = YAML(typ="safe").load(CASES)
    print("| mistake | message |\n| --- | --- |")
    for case in cases:
        lines = [f"<code>{line}</code>" for line in message_for(case).replace("|", "\\|").split("\n")]
        print(f"| {case['name']} | {'<br>'.join(lines)} |")


if __name__ == "__main__":
    main()
