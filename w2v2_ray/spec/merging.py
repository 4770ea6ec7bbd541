"""Layers of a job spec put on top of each other: presets, the file, `--set` options."""

from __future__ import annotations

from w2v2_ray.spec.document import Node
from w2v2_ray.spec.optim import DEFAULT_POLICY


def merge(base: Node, over: Node) -> Node:
    """Put one layer on top of another.

    Mappings merge key by key; scalars and lists replace what was there; null replaces too. A mapping that is a choice
    (`optim.schedule`) and chooses another `policy` replaces the whole, since its fields are others.
    """
    if not isinstance(base.value, dict) or not isinstance(over.value, dict) or _policy(base) != _policy(over, base):
        return over
    entries = dict(base.value)
    for key, child in over.value.items():
        below = entries.get(key)
        entries[key] = merge(below, child) if below is not None else child
    return Node(entries, over.mark, over.key_mark)


def _policy(node: Node, otherwise: Node | None = None) -> object:
    tag = node.child("policy")
    if tag is None:
        return _policy(otherwise) if otherwise is not None else DEFAULT_POLICY
    return tag.value if isinstance(tag.value, str) else DEFAULT_POLICY
