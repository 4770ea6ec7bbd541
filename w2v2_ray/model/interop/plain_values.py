"""Options as plain dicts, lists and numbers, whatever a checkpoint stored them as."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from w2v2_ray.model.interop.safe_pickle import Inert

_MAX_DEPTH = 32
_MISSING = "???"
_INTERPOLATION = re.compile(r"\$\{([A-Za-z0-9_.]+)\}")
_MAX_LAYERS = 64


def to_plain(value: Any, depth: int = 0) -> Any:
    """Turn namespaces, OmegaConf containers and their inert stand-ins into plain values.

    Values that were lost with their classes become None.
    """
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(child, depth + 1) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(child, depth + 1) for child in value]
    if isinstance(value, Inert):
        return _from_inert(value, depth)
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else None
    return value if isinstance(value, (bool, int, float, str)) else None


def _from_inert(value: Inert, depth: int) -> Any:
    attributes = vars(value)
    if "_content" in attributes:  # OmegaConf's containers
        return to_plain(attributes["_content"], depth + 1)
    if "_val" in attributes:  # and their leaves
        return to_plain(attributes["_val"], depth + 1)
    # An enum is its value; anything else is lost.
    return to_plain(value.arguments[0], depth + 1) if len(value.arguments) == 1 else None


def resolve(options: dict[str, Any]) -> dict[str, Any]:
    """Follow OmegaConf's `${a.b}` and leave out its missing values (`???`)."""
    resolved = _resolve(options, options)
    assert isinstance(resolved, dict)
    return resolved


def _resolve(value: Any, root: Mapping[str, Any], depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        children = ((key, _resolve(child, root, depth + 1)) for key, child in value.items())
        return {key: child for key, child in children if child != _MISSING}
    if isinstance(value, list):
        return [_resolve(child, root, depth + 1) for child in value]
    match = _INTERPOLATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    found: Any = root
    for part in match.group(1).split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return _resolve(found, root, depth + 1)


def read_literal(text: str) -> Any:
    """Read a Python literal in which lists may be added and multiplied. Nothing is evaluated.

    So does fairseq write convolutions: `[(512,10,5)] + [(512,3,2)] * 4`.

    Raises:
        ValueError: For anything else.
    """
    try:
        return _literal(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError, TypeError, ValueError):
        raise ValueError(f"{text[:80]!r} is not a list of numbers") from None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _literal(node.left), _literal(node.right)
        if not (isinstance(left, list) and isinstance(right, list)) or len(left) + len(right) > _MAX_LAYERS:
            raise ValueError
        return left + right
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _literal(node.left), _literal(node.right)
        listed, times = (left, right) if isinstance(left, list) else (right, left)
        if not isinstance(listed, list) or not isinstance(times, int) or not 0 <= len(listed) * times <= _MAX_LAYERS:
            raise ValueError
        return listed * times
    if isinstance(node, ast.List):
        return [_literal(child) for child in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(child) for child in node.elts)
    return ast.literal_eval(node)
