"""`--set path=value`: the last layer of a job spec, written on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.base import Spec
from w2v2_ray.spec.diagnostics import dotted, show
from w2v2_ray.spec.document import MAX_DEPTH, Mark, Node, Origin, Path, parse_yaml
from w2v2_ray.spec.introspection import default_at
from w2v2_ray.spec.merging import merge


@dataclass(frozen=True, slots=True)
class Override:
    """One parsed `--set` option."""

    path: tuple[str, ...]
    value: Node


def parse_override(text: str) -> Override:
    """Read `a.b.0.c=value`; the value is YAML.

    Raises:
        SpecError: When there is no `=`, a part of the path is empty, the path has no end, or the value is not YAML.
    """
    source = f"--set {text}"
    path_text, equals, value_text = text.partition("=")
    path = tuple(part.strip() for part in path_text.split("."))
    if not equals:
        raise SpecError(f"{source}: no `=` in it; write --set path=value, such as --set optim.lr=1e-4")
    if not all(path):
        raise SpecError(f"{source}: the path has an empty part; write keys joined by single dots")
    if len(path) > MAX_DEPTH:
        raise SpecError(f"{source[:60]}...: a path of {len(path)} levels, the limit is {MAX_DEPTH}; is it a path?")
    value = parse_yaml(value_text, source, Origin.OPTION)
    value.key_mark = value.mark
    return Override(path, value)


def apply_override(tree: Node, override: Override, root: type[Spec]) -> Node:
    """Put one option on top of a document.

    What nobody wrote starts from the default of the model, so that one entry of a list can be changed. Unknown keys
    are let through: validation reports them together with all other mistakes.

    Raises:
        SpecError: When an index does not fit the list that stands there.
    """
    return _set(tree, override.path, override.value, root, ())


def _set(node: Node, path: tuple[str, ...], value: Node, root: type[Spec], done: Path) -> Node:
    if not path:
        return merge(node, value)
    part = path[0]
    if isinstance(node.value, list):
        index = _index(node.value, part, value.mark, done)
        items = list(node.value)
        items[index] = _set(items[index], path[1:], value, root, (*done, index))
        return Node(items, node.mark, node.key_mark)
    entries = dict(node.value) if isinstance(node.value, dict) else {}
    if part.isdecimal() and not entries and done:
        raise SpecError(
            f"{value.mark}: {dotted(done)}: {show(node.plain())}: is not a list, so it has no entry {part}; "
            f"write --set {dotted(done)}=..."
        )
    below = entries.get(part)
    here: Path = (*done, part)
    if below is None or (below.value is None and len(path) > 1):
        below = _start(path, value, root, here)
    entries[part] = _set(below, path[1:], value, root, here)
    return Node(entries, node.mark, node.key_mark)


def _start(path: tuple[str, ...], value: Node, root: type[Spec], here: Path) -> Node:
    """What an option changes where nothing was written: the default list, or an empty mapping."""
    default = default_at(root, here) if len(path) > 1 and path[1].lstrip("-").isdecimal() else None
    if default is not None:
        return _node(default, value.mark)
    return Node({} if len(path) > 1 else None, value.mark, value.mark)


def _node(plain: Any, mark: Mark) -> Node:
    if isinstance(plain, dict):
        return Node({key: _node(child, mark) for key, child in plain.items()}, mark, mark)
    if isinstance(plain, list):
        return Node([_node(child, mark) for child in plain], mark, mark)
    return Node(plain, mark, mark)


def _index(items: list[Node], part: str, mark: Mark, done: Path) -> int:
    if not part.isdecimal():
        raise SpecError(
            f"{mark}: {dotted(done)}: is a list: write the index of an entry (0 to {len(items) - 1}) before `{part}`"
        )
    if int(part) >= len(items):
        raise SpecError(
            f"{mark}: {dotted(done)}: has {len(items)} entries, so the last index is {len(items) - 1}, not {part}; "
            f"set the whole list with --set '{dotted(done)}=[...]' to add one"
        )
    return int(part)
