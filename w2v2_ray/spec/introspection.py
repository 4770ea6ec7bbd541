"""Questions about the spec models themselves: which keys a place admits, what stands there by default.

Diagnostics and `--set` need them; nothing else should.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from w2v2_ray.spec.base import Spec
from w2v2_ray.spec.document import Path

_REFERENCE_OPTION = re.compile(r"reference: (?:mode )?`([a-z_]+)`")


def specs_in(annotation: Any) -> tuple[type[Spec], ...]:
    """The spec models an annotation admits: one for a nested spec, several for a choice between them."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return (annotation,)
    found: list[type[Spec]] = []
    for part in get_args(annotation):
        found.extend(spec for spec in specs_in(part) if spec not in found)
    return tuple(found)


def tag_of(spec: type[Spec]) -> str | None:
    """The `policy` by which a spec is chosen among its alternatives."""
    field = spec.model_fields.get("policy")
    return str(field.default) if field is not None else None


def resolve(root: type[Spec], loc: Path, document: Any) -> tuple[Path, Any, FieldInfo | None]:
    """Follow a pydantic error location from the root model.

    Args:
        root: The job's model.
        loc: Pydantic's location, which also names the alternative of a choice that was tried.
        document: The plain document, for choosing between alternatives.

    Returns:
        The path as the user writes it, the annotation at its end (None when unknown), and the named field there.
    """
    annotation: Any = root
    field: FieldInfo | None = None
    path: list[str | int] = []
    choices: dict[str | None, type[Spec]] = {}
    for part in loc:
        if part in choices:  # pydantic names the alternative; the user's path does not
            annotation, choices = choices[part], {}
            continue
        specs = specs_in(annotation)
        path.append(part)
        document = _step(document, part)
        if isinstance(part, int):
            annotation = _item(annotation, part)
        else:
            owner = next((spec for spec in specs if part in spec.model_fields), None)
            if get_origin(annotation) is dict:  # its keys are the user's own
                annotation = get_args(annotation)[1]
            else:
                field = owner.model_fields[part] if owner is not None else None
                annotation = field.annotation if field is not None else None
        alternatives = specs_in(annotation)
        choices = {tag_of(spec): spec for spec in alternatives} if len(alternatives) > 1 else {}
        if choices and isinstance(document, dict):
            annotation = choices.get(str(document.get("policy")), annotation)
    return tuple(path), annotation, field


def _step(document: Any, part: str | int) -> Any:
    if isinstance(document, dict):
        return document.get(part)
    if isinstance(document, list) and isinstance(part, int) and part < len(document):
        return document[part]
    return None


def _item(annotation: Any, index: int) -> Any:
    if get_origin(annotation) is tuple:
        args = get_args(annotation)
        if len(args) == 2 and args[1] is Ellipsis:
            return args[0]
        return args[index] if index < len(args) else None
    inner = [_item(part, index) for part in get_args(annotation)]
    return next((part for part in inner if part is not None), None)


def literal_values(annotation: Any) -> list[str]:
    """The values of a Literal, as YAML writes them."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [value for part in get_args(annotation) for value in literal_values(part)]


def default_at(root: type[Spec], path: Path) -> Any:
    """The plain value that stands at a path when nobody writes one, or None."""
    value: Any = None
    spec: type[Spec] | None = root
    for position, part in enumerate(path):
        if spec is not None and isinstance(part, str) and part in spec.model_fields:
            field = spec.model_fields[part]
            value = None if field.default is PydanticUndefined else field.default
            nested = specs_in(field.annotation)
            spec = nested[0] if nested and value is None else None
        elif isinstance(value, Spec) and isinstance(part, str):
            value = getattr(value, part, None)
        else:
            return None
        if value is None and spec is None and position < len(path) - 1:
            return None
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.model_dump(mode="json")
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _walk(spec: type[Spec], prefix: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
    for name, field in spec.model_fields.items():
        yield prefix, name, field
        for nested in specs_in(field.annotation):
            yield from _walk(nested, f"{prefix}{name}.")


@cache
def places_of_keys(root: type[Spec]) -> dict[str, tuple[str, ...]]:
    """For every key of a job, the dotted paths at which it may be written."""
    places: dict[str, list[str]] = {}
    for prefix, name, _ in _walk(root):
        path = f"{prefix}{name}"
        if path not in places.setdefault(name, []):
            places[name].append(path)
    return {name: tuple(paths) for name, paths in places.items()}


@cache
def reference_options(root: type[Spec]) -> dict[str, str]:
    """Option names of the reference implementation and fairseq, to the dotted path they have here."""
    return {
        option: f"{prefix}{name}"
        for prefix, name, field in _walk(root)
        for option in _REFERENCE_OPTION.findall(field.description or "")
    }
