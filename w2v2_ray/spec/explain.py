"""Pydantic's errors in plain words: what stands there, what is expected, what to write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from w2v2_ray.spec.base import BrokenRulesError, Spec
from w2v2_ray.spec.diagnostics import (
    Diagnostic,
    did_you_mean,
    dotted,
    example_of,
    explain_unknown_key,
    mark_of,
    show,
)
from w2v2_ray.spec.document import Node, Path
from w2v2_ray.spec.introspection import literal_values, resolve, specs_in

_LIMITS = {
    "greater_than_equal": "too small: use {ge} or more",
    "greater_than": "too small: use a value above {gt}",
    "less_than_equal": "too large: use {le} or less",
    "less_than": "too large: use a value below {lt}",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """A diagnostic and the fields that it is about, so that what merely follows from it is not reported as well."""

    diagnostic: Diagnostic
    suspects: tuple[Path, ...]


def explain(error: Mapping[str, Any], root: type[Spec], tree: Node, document: Any) -> Iterator[Explained]:
    """Turn one entry of `ValidationError.errors()` into diagnostics.

    Args:
        error: The entry.
        root: The job's model.
        tree: The document with its places.
        document: The plain document that was validated.
    """
    path, annotation, field = resolve(root, error["loc"], document)
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, BrokenRulesError):
        for finding in cause.findings:
            keys = tuple((*path, *key.split(".")) for key in finding.keys)
            yield Explained(Diagnostic(finding.message, dotted(path), "", mark_of(tree, path, finding.keys)), keys)
    elif error["type"] == "extra_forbidden":
        yield _unknown_key(root, path, tree, document)
    elif error["type"] == "missing":
        yield Explained(
            Diagnostic(_missing(path, annotation, field), dotted(path), "", tree.nearest(path).place), (path,)
        )
    else:
        value = error["input"]
        if error["type"] == "too_short" and len(value) >= error["ctx"]["min_length"]:
            return  # pydantic counts only entries that are right; the wrong ones have their own messages
        message = str(cause) if error["type"] == "value_error" else _describe(error, value, annotation, field)
        if error["type"].startswith("union_tag"):
            path = (*path, "policy")
            value = value.get("policy") if isinstance(value, dict) else value
        yield Explained(Diagnostic(message, dotted(path), show(value), tree.nearest(path).place), (path,))


def _unknown_key(root: type[Spec], path: Path, tree: Node, document: Any) -> Explained:
    owner, key = path[:-1], str(path[-1])
    _, annotation, _ = resolve(root, owner, document)
    specs = specs_in(annotation)
    message, meant = explain_unknown_key(root, owner, specs[0] if specs else None, key)
    node = tree.find(path)
    mark = (node.key_mark or node.mark) if node is not None else tree.nearest(owner).place
    return Explained(Diagnostic(message, dotted(owner), "", mark), (path, meant) if meant else (path,))


def _missing(path: Path, annotation: Any, field: FieldInfo | None) -> str:
    if isinstance(path[-1], int):
        return "is missing: the list above it has too few values"
    return f"required and missing: write `{_entry(str(path[-1]), annotation, field)}`"


def _entry(key: str, annotation: Any, field: FieldInfo | None) -> str:
    specs = specs_in(annotation) if field is not None and not field.examples else ()
    for spec in specs:
        for name, inner in spec.model_fields.items():
            if inner.is_required():
                return f"{key}: {{{_entry(name, inner.annotation, inner)}}}"
    return f"{key}: {example_of(field) or '...'}"


def _describe(error: Mapping[str, Any], value: Any, annotation: Any, field: FieldInfo | None) -> str:
    kind, context = str(error["type"]), error.get("ctx", {})
    if kind in _LIMITS:
        return _LIMITS[kind].format(**{name: f"{limit:g}" for name, limit in context.items()})
    if kind == "literal_error":
        return f"not among the choices: {did_you_mean(show(value), literal_values(annotation))}"
    if kind == "union_tag_invalid":
        choices = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        return f"not among the choices: {did_you_mean(str(context['tag']), choices)}"
    if kind == "string_pattern_mismatch":
        return f"not accepted: {' '.join((field.description or '').split()) if field is not None else ''}"
    if kind == "string_too_short":
        return f"is empty: write {expected(annotation, field)}"
    if kind == "too_short":
        return f"has too few entries: at least {context['min_length']} needed; write {expected(annotation, field)}"
    if kind == "too_long":
        return f"has too many entries: {context['max_length']} at most; write {expected(annotation, field)}"
    if kind == "finite_number":
        return f"not finite: write {expected(annotation, field)}"
    return f"expected {expected(annotation, field)}"


def expected(annotation: Any, field: FieldInfo | None) -> str:
    """What a field accepts, in plain words, with an example."""
    parts = [part for part in _leaves(annotation) if part is not NoneType]
    words = " or ".join(dict.fromkeys(_words(part) for part in parts)) or "another value"
    example = example_of(field)
    if example and not specs_in(annotation) and bool not in parts:
        words += f" such as {example}"
    return f"{words}, or null" if NoneType in _leaves(annotation) else words


def _leaves(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, Annotated and unions taken apart."""
    if hasattr(annotation, "__metadata__"):
        return _leaves(get_args(annotation)[0])
    if get_origin(annotation) is not None and get_origin(annotation) is not tuple and not literal_values(annotation):
        return [leaf for part in get_args(annotation) for leaf in _leaves(part)]
    return [annotation]


def _words(part: Any) -> str:
    if part in _PLAIN:
        return _PLAIN[part]
    if literal_values(part):
        return f"one of {', '.join(literal_values(part))}"
    if isinstance(part, type) and issubclass(part, Spec):
        return f"a mapping with keys such as {', '.join(list(part.model_fields)[:4])}"
    if get_origin(part) is tuple:
        inner = [arg for arg in get_args(part) if arg is not Ellipsis]
        length = "" if Ellipsis in get_args(part) else f"{len(inner)} "
        specs = specs_in(part)
        if specs and "path" in specs[0].model_fields:
            return "a path, or a list of paths or of mappings {path: ..., repeat: ..., share: ...}"
        return f"a list of {length}entries, each {_words(_leaves(inner[0])[0])}"
    return "another value"


_PLAIN: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
}
