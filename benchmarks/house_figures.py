"""How large, how typed and how documented the code is, and how often it reaches past its walls; of any tree.

    python benchmarks/house_figures.py [TREE ...]

One column for each tree (a checkout; this one when none is given), read from the syntax trees alone.
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

_WALLS = {
    "`isinstance(job, ...)` of a kind outside the specs": r"isinstance\(\w*job\w*, \(?(?:Pretrain|Finetune)Job",
    "`remote is None` or `is not None`": r"\bremote is (?:not )?None",
    "modules that use private names of Ray": r"ray\._private|ray\.train\.v2\._internal|_internal_kv",
    "modules that name `events.jsonl`, `metrics.jsonl` or `interventions.json`": (
        r"\"(?:events|metrics)\.jsonl\"|\"interventions\.json\""
    ),
}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method."""
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def is_public(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether a name is meant for others."""
    return not node.name.startswith("_")


def percentile(values: list[int], share: float) -> int:
    """The value below which a share of them lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def figures(root: Path) -> dict[str, str]:
    """The table's column of a tree."""
    package = root / "w2v2_ray"
    files = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in files.items()}
    lines = [text.count("\n") for path, text in files.items() if path.name != "__init__.py"]
    found = [node for tree in trees.values() for node in functions(tree)]
    sizes = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in found]
    named = [
        node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and is_public(node)
    ]
    documented = sum(ast.get_docstring(node) is not None for node in named)
    returns = sum(node.returns is not None or node.name == "__init__" for node in found)
    tests = sum(len(re.findall(r"^\s*def test_", p.read_text(), re.MULTILINE)) for p in (root / "tests").rglob("*.py"))
    column = {
        "rooms": str(sum(1 for path in package.iterdir() if path.is_dir() and path.name != "__pycache__")),
        "modules": str(len(lines)),
        "lines": f"{sum(lines):,}",
        "lines of a module: median, largest": f"{statistics.median(lines):.0f}, {max(lines)}",
        "lines of a function: median, 95 %, largest": (
            f"{statistics.median(sizes):.0f}, {percentile(sizes, 0.95)}, {max(sizes)}"
        ),
        "functions with a return type": f"{returns / len(found):.1%}",
        "public names with a docstring": f"{documented / len(named):.1%}",
        "test functions": f"{tests:,}",
    }
    for what, pattern in _WALLS.items():
        inside = {path: len(re.findall(pattern, text)) for path, text in files.items()}
        counted = sum(1 for count in inside.values() if count) if what.startswith("modules") else sum(inside.values())
        column[what] = str(counted)
    return column


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path, default=[Path(__file__).resolve().parents[1]])
    trees: list[Path] = parser.parse_args().trees
    columns = [figures(tree) for tree in trees]
    print("| |", " | ".join(str(tree) for tree in trees), "|\n|", "--- | " * (len(trees) + 1))
    for row in columns[0]:
        print(f"| {row} |", " | ".join(column[row] for column in columns), "|")


if __name__ == "__main__":
    main()
