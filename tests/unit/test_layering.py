"""CONTRIBUTING.md's table of rooms, read from the syntax tree: lazy imports inside functions count too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "w2v2_ray"

LEAVES = {"errors", "importing", "impostors", "processors", "resident_memory", "sharing"}
"""Modules that import nothing of ours."""
MAY_IMPORT: dict[str, set[str]] = {
    **{leaf: set() for leaf in LEAVES},
    "spec": {"errors"},
    "places": {"errors"},
    "engine": {"errors", "importing", "resident_memory", "spec", "places"},
    "run": {"errors", "spec", "places"},
    "team": set(),
    "audio": {"errors", "impostors"},
    "data": {"errors", "impostors", "spec", "places", "audio"},
    "model": {"errors", "impostors", "spec", "places"},
    "synthesis": {"errors", "places", "audio", "data"},
    "training": {"errors", "spec", "places", "audio", "data", "model", "run", "engine", "team"},
    "recognition": {"errors", "impostors", "spec", "places", "audio", "data", "model", "training", "sharing"},
    "extraction": {"errors", "spec", "places", "audio", "data", "model", "sharing"},
    "reporting": {"errors", "spec", "audio", "data", "run"},
    "orchestration": {
        "errors",
        "importing",
        "processors",
        "spec",
        "places",
        "audio",
        "data",
        "run",
        "team",
        "training",
    },
    "bench": {
        "errors",
        "resident_memory",
        "spec",
        "places",
        "audio",
        "data",
        "model",
        "synthesis",
        "engine",
        "reporting",
    },
    "tune": {"errors", "processors", "spec", "places", "run", "engine", "training", "orchestration", "reporting"},
}
MAY_IMPORT["api"] = {*MAY_IMPORT} - {"importing", "impostors", "resident_memory", "bench"}
MAY_IMPORT["cli"] = {*MAY_IMPORT} - {"importing", "impostors", "resident_memory"}
RAY_PRIVATE = ("orchestration", "ray_private")
"""The only place for names of Ray that are not public."""
ONLY_IN = {"ray": {"orchestration", "tune", "cli"}, "deepspeed": {"engine"}}
NOT_IN = {
    **{leaf: {"torch", "numpy", "pyarrow", "pydantic"} for leaf in LEAVES},
    "spec": {"torch", "torchaudio", "numpy", "pyarrow", "transformers"},
    "places": {"torch", "numpy", "pydantic"},
    "run": {"torch", "numpy", "pyarrow"},
    "model": {"pyarrow"},
}
HEAVY = {"torch", "torchaudio", "ray", "deepspeed", "numpy", "pyarrow", "transformers", "matplotlib", "tensorboard"}
"""What modules of the command must not import when they are loaded."""


def imported_modules(tree, package):
    """(line, dotted module, at module level) for every import statement and import_module("...") call."""
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or is_type_checking(node)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        at_top = id(node) not in lazy
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, module, at_top
            if module.startswith("w2v2_ray"):
                yield from ((node.lineno, f"{module}.{alias.name}", at_top) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value, at_top


def is_type_checking(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def violations(root):
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        room = parts[0]
        if room == "__init__":
            continue
        package = ["w2v2_ray", *parts[:-1]]
        where = "/".join(parts)
        for line, module, at_top in imported_modules(ast.parse(path.read_text(encoding="utf-8")), package):
            for reason in broken_rules(parts, room, module, at_top):
                yield f"{where}.py:{line}: {module}: {reason}"


def broken_rules(parts, room, module, at_top):
    top, _, rest = module.partition(".")
    if room not in MAY_IMPORT:
        yield f"{room} is not a room of CONTRIBUTING.md"
        return
    if top == "w2v2_ray" and rest:
        target = rest.split(".")[0]
        if target in MAY_IMPORT and target != room and target not in MAY_IMPORT[room]:
            yield f"{room} may not import {target}"
        reads_specs = parts[1].startswith("factory") or parts[1] == "interop" if room == "model" else True
        if target == "spec" and not reads_specs:
            yield "within model, only factory and interop read specs"
    if top in ONLY_IN and room not in ONLY_IN[top]:
        yield f"{top} belongs in {', '.join(sorted(ONLY_IN[top]))}"
    hidden = any(part.startswith("_") for part in module.split(".")) or "internal_kv" in module
    if top == "ray" and hidden and parts[:2] != RAY_PRIVATE:
        yield f"private names of ray belong in {'/'.join(RAY_PRIVATE)}"
    if top in NOT_IN.get(room, ()):
        yield f"{top} is not allowed in {room}"
    if room == "cli" and at_top and top in HEAVY:
        yield "commands import what they need inside"


def sub_room(parts):
    """Where a module is within its room: a folder, or the module itself where it lies beside the folders."""
    return ".".join(parts[:2])


def circles(root):
    """Rooms and sub-rooms that import each other, by a way of any length, as the sorted names on it."""
    files = {path.relative_to(root).with_suffix("").parts: path for path in root.rglob("*.py")}
    edges: dict[str, set[str]] = {}
    for parts, path in files.items():
        if parts[-1] == "__init__":
            continue
        for _, module, _ in imported_modules(ast.parse(path.read_text(encoding="utf-8")), ["w2v2_ray", *parts[:-1]]):
            target = tuple(module.split(".")[1:])
            while target and target not in files:
                target = target[:-1]
            if target and module.startswith("w2v2_ray."):
                edges.setdefault(sub_room(parts), set()).add(sub_room(target))
                if parts[0] != target[0]:
                    edges.setdefault(parts[0], set()).add(target[0])

    def reached_from(start):
        found, waiting = set(), [start]
        while waiting:
            for neighbour in edges.get(waiting.pop(), set()) - found:
                found.add(neighbour)
                waiting.append(neighbour)
        return found

    reached = {name: reached_from(name) for name in edges}
    return [
        (one, two)
        for one in sorted(edges)
        for two in sorted(reached[one])
        if one < two and one in reached.get(two, set())
    ]


def test_no_room_and_no_sub_room_imports_itself_by_a_detour():
    assert circles(PACKAGE) == []


@pytest.mark.parametrize(
    ("modules", "circle"),
    [
        (
            {"run/a/x.py": "from w2v2_ray.run.b import y", "run/b/y.py": "import w2v2_ray.run.a.x"},
            ("run.a", "run.b"),
        ),
        ({"run/a/x.py": "from w2v2_ray.run import y", "run/y.py": "from w2v2_ray.run.a import x"}, ("run.a", "run.y")),
        (
            {
                "data/x.py": "def f():\n    from w2v2_ray.model import y",
                "model/y.py": "from w2v2_ray.run import z",
                "run/z.py": "from w2v2_ray.data import x",
            },
            ("data", "model"),
        ),
    ],
)
def test_a_planted_circle_is_found(tmp_path, modules, circle):
    for file, text in modules.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert circle in circles(tmp_path)


def test_imports_point_left_only():
    assert list(violations(PACKAGE)) == []


def test_every_room_is_looked_at():
    looked_at = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}
    assert {*MAY_IMPORT} - LEAVES <= looked_at


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("spec/x.py", "import torch", "torch is not allowed in spec"),
        ("spec/x.py", "def f():\n    import torch.nn", "torch is not allowed in spec"),
        ("spec/x.py", "from w2v2_ray.data import schema", "spec may not import data"),
        ("spec/x.py", "from ..data import schema", "spec may not import data"),
        ("spec/deep/x.py", "from ... import engine", "spec may not import engine"),
        ("data/x.py", "def f():\n    from w2v2_ray.model.masking import span_mask", "data may not import model"),
        ("data/x.py", "import importlib\nimportlib.import_module('ray.data')", "ray belongs in"),
        ("data/x.py", "import w2v2_ray.training.metrics", "data may not import training"),
        ("model/x.py", "from w2v2_ray.spec.model import ModelSpec", "only factory and interop"),
        ("model/layers/x.py", "from w2v2_ray.spec.model import ModelSpec", "only factory and interop"),
        ("model/x.py", "from w2v2_ray.data import schema", "model may not import data"),
        ("engine/x.py", "class A:\n    def f(self):\n        from ray import train", "ray belongs in"),
        ("orchestration/x.py", "import deepspeed", "deepspeed belongs in engine"),
        ("recognition/x.py", "from w2v2_ray.orchestration import launch", "recognition may not import orchestration"),
        ("engine/x.py", "from w2v2_ray.run.folder import RunFolder", "engine may not import run"),
        ("run/x.py", "from w2v2_ray.training.trainer import Trainer", "run may not import training"),
        ("spec/x.py", "from w2v2_ray.places import storage", "spec may not import places"),
        ("engine/x.py", "from w2v2_ray import cli", "engine may not import cli"),
        ("errors.py", "from w2v2_ray.spec import base", "errors may not import spec"),
        ("cli/x.py", "import torch", "commands import what they need inside"),
        ("helpers/x.py", "import os", "not a room"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, text, reason):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    found = list(violations(tmp_path))
    assert found
    assert reason in found[0]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("model/factory.py", "from w2v2_ray.spec.model import ModelSpec"),
        ("model/interop/hf.py", "from w2v2_ray.spec.model import ModelSpec"),
        ("cli/x.py", "def f():\n    import torch"),
        ("cli/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("engine/x.py", "import deepspeed\nfrom w2v2_ray import __version__"),
        ("orchestration/x.py", "from ray import train"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert list(violations(tmp_path)) == []
