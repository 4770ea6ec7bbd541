"""YAML as a tree whose every value knows where it was written.

Pydantic sees plain values; a person who made a mistake wants the file, line and column. So YAML is composed
(never constructed: no tag can run code) into `Node`s, presets and `--set` options are merged as nodes, and an error
is led back to its place by walking the tree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from w2v2_ray.errors import SpecError

MAX_CHARS = 200_000
"""Longest document that is read; the longest sensible job spec has some thousands."""
MAX_NODES = 100_000
"""Most values in a document, aliases counted each time, so that a few nested aliases cannot fill the memory."""
MAX_DEPTH = 64
_MAX_BRACKETS = 500
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

Scalar = str | int | float | bool | None
Path = tuple[str | int, ...]


class Origin(IntEnum):
    """Who wrote a value; a later one overrides an earlier one."""

    PRESET = 0
    FILE = 1
    OPTION = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """A place: a line and column (from 1) of a file, or a `--set` option."""

    source: str
    line: int | None = None
    column: int | None = None
    origin: Origin = Origin.FILE

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}:{self.column}"


@dataclass(slots=True)
class Node:
    """A value, where it stands, and where its key stands if it belongs to a mapping."""

    value: Scalar | dict[str, Node] | list[Node]
    mark: Mark
    key_mark: Mark | None = None

    @property
    def place(self) -> Mark:
        """Where to point a reader: at the value, or at the key when nothing is written after it."""
        return self.key_mark if self.value is None and self.key_mark is not None else self.mark

    def plain(self) -> Any:
        """The value without its places, as pydantic wants it."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def find(self, path: Path) -> Node | None:
        """The node at a path, or None when nobody wrote one."""
        node: Node | None = self
        for part in path:
            node = node.child(part) if node is not None else None
        return node

    def nearest(self, path: Path) -> Node:
        """The node at a path, or its closest ancestor that was written."""
        node = self
        for part in path:
            child = node.child(part)
            if child is None:
                break
            node = child
        return node

    def child(self, part: str | int) -> Node | None:
        """The entry of a mapping or list under a key or an index."""
        if isinstance(self.value, dict) and isinstance(part, str):
            return self.value.get(part)
        if isinstance(self.value, list) and isinstance(part, int) and 0 <= part < len(self.value):
            return self.value[part]
        return None


class _Builder:
    """Turns one composed YAML document into nodes."""

    def __init__(self, source: str, origin: Origin) -> None:
        self.source, self.origin = source, origin
        self.count = 0

    def mark(self, yaml_mark: Any) -> Mark:
        if self.origin is Origin.OPTION:  # the option's own text says more than a column in it
            return Mark(self.source, origin=self.origin)
        return Mark(self.source, yaml_mark.line + 1, yaml_mark.column + 1, self.origin)

    def build(self, node: Any, depth: int = 0) -> Node:
        mark = self.mark(node.start_mark)
        self.count += 1
        if self.count > MAX_NODES or depth > MAX_DEPTH:
            raise SpecError(
                f"{mark}: the document is too large once its aliases are followed (limits: {MAX_NODES} values, "
                f"{MAX_DEPTH} levels); write it without aliases"
            )
        if not isinstance(node, ScalarNode) and node.tag not in _PLAIN_TAGS:
            raise SpecError(f"{mark}: tag {node.tag}: tags are not allowed in a job spec; write the plain value")
        if isinstance(node, MappingNode):
            return Node(self._mapping(node, depth), mark)
        if isinstance(node, SequenceNode):
            return Node([self.build(child, depth + 1) for child in node.value], mark)
        return Node(self._scalar(node, mark), mark)

    def _mapping(self, node: Any, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            key_mark = self.mark(key_node.start_mark)
            if not isinstance(key_node, ScalarNode):
                raise SpecError(f"{key_mark}: a key must be a word, not a list or mapping; check braces and colons")
            key = str(key_node.value)
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise SpecError(f"{key_mark}: `<<` is not supported; use `preset: NAME` or repeat the keys")
            if key in entries:
                raise SpecError(
                    f"{key_mark}: {key}: written twice (first at {entries[key].key_mark}); remove one of them"
                )
            child = self.build(value_node, depth + 1)
            child.key_mark = key_mark
            entries[key] = child
        return entries

    def _scalar(self, node: Any, mark: Mark) -> Scalar:
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        text = str(node.value)
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() == "true"
            if kind == "int":
                return _integer(text)
            if kind == "float":
                return _float(text)
        except ValueError:
            raise SpecError(f"{mark}: {text[:60]}: not a number that can be read; quote it if it is text") from None
        if kind in {"str", "timestamp"}:  # a date is text here: no field holds a time
            return text
        raise SpecError(f"{mark}: tag {node.tag}: tags are not allowed in a job spec; write the plain value")


def _integer(text: str) -> int:
    digits = text.replace("_", "").lower()
    unsigned = digits.lstrip("+-")
    base = {"0x": 16, "0o": 8, "0b": 2}.get(unsigned[:2], 10)
    return int(digits, base)


def _float(text: str) -> float:
    number = text.replace("_", "").lower()
    if number.endswith(".inf"):
        return -math.inf if number.startswith("-") else math.inf
    return math.nan if number == ".nan" else float(number)


def parse_yaml(text: str, source: str, origin: Origin = Origin.FILE) -> Node:
    """Read one YAML 1.2 document.

    Args:
        text: The document.
        source: What to call it in messages: a file name or the text of a `--set` option.
        origin: Who wrote it.

    Raises:
        SpecError: When it is not one YAML document, repeats a key, or uses a tag. A syntax error hides what follows
            it, so it is reported alone.
    """
    if len(text) > MAX_CHARS:
        raise SpecError(f"{source}: {len(text)} characters; a job spec has at most {MAX_CHARS}: is it the right file?")
    if _bracket_depth(text) > _MAX_BRACKETS:  # the parser would take minutes to find out
        raise SpecError(f"{source}: not valid YAML: brackets nested too deeply (limit {MAX_DEPTH})")
    builder = _Builder(source, origin)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        where = builder.mark(place) if place is not None else Mark(source, origin=origin)
        raise SpecError(f"{where}: not valid YAML: {_explain(error)}") from None
    except YAMLError as error:
        raise SpecError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise SpecError(f"{source}: not valid YAML: brackets nested too deeply (limit {MAX_DEPTH})") from None
    if root is None:
        return Node(None, Mark(source, 1, 1, origin) if origin is not Origin.OPTION else Mark(source, origin=origin))
    return builder.build(root)


def _bracket_depth(text: str) -> int:
    """Upper bound of how deeply brackets nest; those in quotes and comments count too."""
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth = max(depth - 1, 0)
    return deepest


def _explain(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "unreadable")
    if "\\t" in problem:
        return "a tab cannot indent or start a value; use spaces"
    if "found another document" in problem:
        return "a second document starts here (`---`); a job spec is one document"
    if "mapping values are not allowed" in problem:
        return "a `:` is not allowed here; check the indentation of this line and the one above, or quote the text"
    context = f" {error.context}" if error.context and error.context not in problem else ""
    return f"{problem}{context}; check indentation, brackets and quotes around here"
