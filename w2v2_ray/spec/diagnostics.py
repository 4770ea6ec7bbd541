"""What is wrong with a job spec, where, and what to write instead."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.base import Spec
from w2v2_ray.spec.document import Mark, Node, Path
from w2v2_ray.spec.introspection import places_of_keys, reference_options

_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake, or one piece of advice."""

    message: str
    """What is wrong with it, the limit and the remedy."""
    path: str = ""
    """Dotted path of the field; empty for the job as a whole."""
    value: str = ""
    """What stands there, shortened; empty when the message names the values itself."""
    mark: Mark | None = None
    """Where it was written."""

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.mark or ""), self.path, self.value, self.message) if part)

    def as_dict(self) -> dict[str, str | int | None]:
        """For `validate --json`."""
        mark = self.mark
        return {
            "source": mark.source if mark else None,
            "line": mark.line if mark else None,
            "column": mark.column if mark else None,
            "path": self.path,
            "value": self.value or None,
            "message": self.message,
        }


_MOST_LINES = 50
"""Of a message; a screen or two."""


class InvalidJobError(SpecError):
    """A job spec with mistakes, all of them. Its message has a line for each of the first."""

    def __init__(self, message: str, diagnostics: tuple[Diagnostic, ...] = ()) -> None:
        super().__init__(message)
        self.diagnostics = diagnostics

    @classmethod
    def of(cls, diagnostics: Iterable[Diagnostic]) -> InvalidJobError:
        """Put the mistakes in the order of the file, each once."""
        unique = list(dict.fromkeys(diagnostics))
        unique.sort(key=_place_key)
        lines = [str(diagnostic) for diagnostic in unique[:_MOST_LINES]]
        if len(unique) > _MOST_LINES:
            lines.append(f"... and {len(unique) - _MOST_LINES:,} more, which `w2v2-ray validate --json` lists")
        return cls("\n".join(lines), tuple(unique))


def _place_key(diagnostic: Diagnostic) -> tuple[int, int, int]:
    mark = diagnostic.mark
    return (-int(mark.origin), mark.line or 0, mark.column or 0) if mark else (0, 0, 0)


def dotted(path: Path) -> str:
    """A path as it is written on the command line."""
    return ".".join(str(part) for part in path)


def show(value: Any) -> str:
    """A value as YAML writes it, on one line, shortened."""
    if isinstance(value, float) and not math.isfinite(value):
        text = ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    elif isinstance(value, str):
        text = " ".join(value.split()) or "''"
        text = "".join(char if char.isprintable() else "?" for char in text)
    else:
        text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def near_miss(word: str, allowed: Sequence[str]) -> str | None:
    """The allowed word that was probably meant."""
    lowered = {candidate.lower(): candidate for candidate in allowed}
    matches = difflib.get_close_matches(word.lower().replace("-", "_"), lowered, n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def did_you_mean(word: str, allowed: Sequence[str]) -> str:
    """The tail of a message about a word that is not among the allowed ones."""
    guess = near_miss(word, allowed)
    listed = ", ".join(allowed)
    return f"did you mean `{guess}`? (one of: {listed})" if guess else f"use one of: {listed}"


def explain_unknown_key(root: type[Spec], owner: Path, owner_spec: type[Spec] | None, key: str) -> tuple[str, Path]:
    """Say which key was probably meant, and where it belongs.

    Returns:
        The message, and the path of the key that was probably meant (empty when there is no guess).
    """
    allowed = list(owner_spec.model_fields) if owner_spec is not None else []
    places = [place for place in places_of_keys(root).get(key, ()) if place != dotted((*owner, key))]
    if places:
        return f"unknown key `{key}` here; it belongs to {_owners(places)}: write `{places[0]}`", _path(places[0])
    option = reference_options(root).get(key)
    if option is not None:
        return f"unknown key `{key}`; the reference's `{key}` is `{option}` here", _path(option)
    guess = near_miss(key, allowed)
    if guess is not None:
        return f"unknown key `{key}`; did you mean `{guess}`?", (*owner, guess)
    elsewhere = near_miss(key, list(places_of_keys(root)))
    if elsewhere is not None and difflib.SequenceMatcher(None, key, elsewhere).ratio() > 0.8:
        place = places_of_keys(root)[elsewhere][0]
        return f"unknown key `{key}`; did you mean `{place}`?", _path(place)
    return f"unknown key `{key}`; use one of: {', '.join(allowed)}, or remove it", ()


def _owners(places: Sequence[str]) -> str:
    owners = [f"`{place.rpartition('.')[0]}`" if "." in place else "the top level" for place in places]
    return " or ".join(dict.fromkeys(owners))


def _path(text: str) -> Path:
    return tuple(text.split("."))


def mark_of(tree: Node, owner: Path, keys: Iterable[str]) -> Mark:
    """The place of a rule between several fields: that of an option before the file's before a preset's."""
    written = [node for key in keys if (node := tree.find((*owner, *_path(key)))) is not None]
    if not written:
        return tree.nearest(owner).place
    return max(written, key=lambda node: int(node.place.origin)).place


def example_of(field: FieldInfo | None) -> str:
    """A value that the field would accept, or an empty string."""
    if field is None:
        return ""
    if field.examples:
        return show(field.examples[0])
    default = field.default
    return show(default) if isinstance(default, (str, int, float)) else ""
