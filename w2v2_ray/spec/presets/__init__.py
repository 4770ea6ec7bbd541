"""Presets by name: small YAML differences over the defaults of the models, shipped as package data."""

from __future__ import annotations

from importlib.resources import files

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.document import Node, Origin, parse_yaml

_SHOWN_FOLDER = "w2v2_ray/spec/presets"


def preset_names(kind: str) -> list[str]:
    """Names that `preset:` admits in a job of this kind."""
    prefix = f"{kind}_"
    names = (entry.name for entry in files(__package__).iterdir())
    return sorted(
        name.removeprefix(prefix).removesuffix(".yaml")
        for name in names
        if name.startswith(prefix) and name.endswith(".yaml")
    )


def read_preset(kind: str, name: str) -> Node:
    """Read a preset that exists.

    Raises:
        SpecError: When its YAML is broken.
    """
    file_name = f"{kind}_{name}.yaml"
    text = (files(__package__) / file_name).read_text(encoding="utf-8")
    node = parse_yaml(text, f"{_SHOWN_FOLDER}/{file_name}", Origin.PRESET)
    if node.value is None:  # nothing but comments: the defaults themselves
        node.value = {}
    if not isinstance(node.value, dict):
        raise SpecError(f"{node.mark}: a preset is a mapping of fields")
    return node
