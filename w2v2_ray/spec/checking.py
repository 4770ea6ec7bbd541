"""Validation that finds every mistake at once.

Pydantic checks the rules between fields only when the fields themselves are right. A user with two mistakes would
need two attempts. So what is wrong is taken out and the rest is checked again, until nothing new turns up; findings
that merely follow from a value already complained about are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from w2v2_ray.spec.base import Spec
from w2v2_ray.spec.diagnostics import Diagnostic, InvalidJobError, dotted, mark_of
from w2v2_ray.spec.document import Node, Path
from w2v2_ray.spec.explain import Explained, explain
from w2v2_ray.spec.introspection import resolve, specs_in
from w2v2_ray.spec.job import Job

_ROUNDS = 6


def check(root: type[Job], tree: Node, known: tuple[Diagnostic, ...] = ()) -> Job:
    """Validate a merged document.

    Args:
        root: The job's model.
        tree: The document.
        known: Mistakes that were found before.

    Raises:
        InvalidJobError: With all mistakes.
    """
    document = tree.plain()
    found: list[Explained] = []
    suspects: set[Path] = set()
    for _ in range(_ROUNDS):
        try:
            job = root.model_validate(document)
        except ValidationError as error:
            new = [item for entry in error.errors(include_url=False) for item in explain(entry, root, tree, document)]
            found += [item for item in new if not any(_overlap(p, s) for p in item.suspects for s in suspects)]
            suspects.update(path for item in new for path in item.suspects)
            document = _without(root, document, suspects)
        else:
            if found or known:
                break
            return job
    raise InvalidJobError.of((*known, *(item.diagnostic for item in found)))


def advice(job: Spec, tree: Node, owner: Path = ()) -> Iterator[Diagnostic]:
    """What the parts of a valid job advise against."""
    for finding in job.advice():
        yield Diagnostic(finding.message, dotted(owner), "", mark_of(tree, owner, finding.keys))
    for name in type(job).model_fields:
        value = getattr(job, name)
        if isinstance(value, Spec):
            yield from advice(value, tree, (*owner, name))


def _overlap(path: Path, suspect: Path) -> bool:
    shorter = min(len(path), len(suspect))
    return path[:shorter] == suspect[:shorter]


def _without(root: type[Spec], document: Any, suspects: set[Path]) -> Any:
    """The document with everything suspect removed and required fields filled with placeholders."""
    document = copy.deepcopy(document)
    # Whole lists go when an entry is wrong: indices must not shift.
    for path in sorted(suspects, key=len, reverse=True):
        names = path[: next((i for i, part in enumerate(path) if isinstance(part, int)), len(path))]
        owner = _get(document, names[:-1])
        if isinstance(owner, dict) and names:
            owner.pop(str(names[-1]), None)
    for suspect in suspects:
        _fill(root, document, suspect)
    return document


def _fill(root: type[Spec], document: Any, suspect: Path) -> None:
    """Give the required fields beside a removed one a placeholder, so that the rest can be checked."""
    for length in range(len(suspect)):
        owner_path = suspect[:length]
        owner = _get(document, owner_path)
        _, annotation, _ = resolve(root, owner_path, document)
        specs = specs_in(annotation)
        if isinstance(owner, dict) and len(specs) == 1:
            for name, field in specs[0].model_fields.items():
                if field.is_required() and name not in owner:
                    owner[name] = _placeholder(field.annotation)


def _placeholder(annotation: Any) -> Any:
    specs = specs_in(annotation)
    if get_origin(annotation) is tuple:
        return [_placeholder(get_args(annotation)[0])]
    if specs:
        return {n: _placeholder(f.annotation) for n, f in specs[0].model_fields.items() if f.is_required()}
    return "placeholder" if annotation is str else 1


def _get(document: Any, path: Path) -> Any:
    for part in path:
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and isinstance(part, int) and part < len(document):
            document = document[part]
        else:
            return None
    return document
