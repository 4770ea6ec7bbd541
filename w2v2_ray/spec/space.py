"""Search spaces: which fields of a job spec a sweep changes, and to what."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, field_validator

from w2v2_ray.spec.base import Finding, Int, Spec
from w2v2_ray.spec.job import Job


class ParameterSpec(Spec):
    """The values of one field: a list of choices, or a range between two numbers."""

    choices: tuple[Any, ...] | None = Field(default=None, min_length=1, examples=[[1, 2, 4]])
    """Values to try, in this order. A mapping changes the named keys of the field, and null is a value too."""
    labels: tuple[str, ...] | None = None
    """What to call the choices in tables and plots; null makes names of the values."""
    low: Any = Field(default=None, examples=[1e-4])
    """Lower end of a range; a range between whole numbers has whole numbers alone."""
    high: Any = Field(default=None, examples=[1e-3])
    """Upper end, included."""
    log: Annotated[bool, Strict()] = False
    """Spread the range evenly in the logarithm."""
    steps: Int | None = Field(default=None, ge=2)
    """Values that a grid takes from a range, both ends included; random and optuna draw from all of it."""

    @field_validator("low", "high")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ValueError("expected a number; write other values as `choices: [...]`")
        return value

    def broken_rules(self) -> Iterator[Finding]:
        """Choices or a range, each whole."""
        ends = (self.low, self.high)
        if (self.choices is None) == (self.low is None and self.high is None):
            yield Finding("write either `choices: [...]` or `low:` and `high:`", ("choices", "low", "high"))
        elif self.choices is None:
            yield from self._range_rules(*ends)
        if self.choices is not None and self.labels is not None and len(self.labels) != len(self.choices):
            yield Finding(
                f"labels: {len(self.labels)} names for {len(self.choices)} choices; write one for each, or none",
                ("labels", "choices"),
            )
        for key in ("log", "steps"):
            if self.choices is not None and getattr(self, key):
                yield Finding(f"{key} belongs to a range; remove it, or write `low:` and `high:`", (key, "choices"))

    def _range_rules(self, low: float | None, high: float | None) -> Iterator[Finding]:
        if low is None or high is None:
            missing = "low" if low is None else "high"
            yield Finding(f"a range has two ends; write `{missing}:` too", (missing, "low", "high"))
        elif low >= high:
            yield Finding(f"low: {low:g} is not below high: {high:g}; exchange them", ("low", "high"))
        elif self.log and low <= 0:
            yield Finding(f"low: {low:g} has no logarithm; use a value above 0, or log: false", ("low", "log"))
        if self.labels is not None:
            yield Finding("labels belong to choices; remove them", ("labels",))

    @property
    def whole(self) -> bool:
        """Whether the values of the range are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def grid(self) -> tuple[Any, ...]:
        """The values of a grid; a range gives `steps` of them, equal ones once."""
        if self.choices is not None:
            return self.choices
        assert self.steps is not None
        return tuple(dict.fromkeys(self.at(step / (self.steps - 1)) for step in range(self.steps)))

    def at(self, share: float) -> Any:
        """The value at a share, 0 to 1, of the way through the choices or the range."""
        if self.choices is not None:
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        assert self.low is not None
        assert self.high is not None
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else value


def as_parameters(value: Any) -> Any:
    """Accept `path: [a, b]` for `path: {choices: [a, b]}`."""
    if not isinstance(value, dict):
        return value
    return {key: {"choices": entry} if isinstance(entry, list) else entry for key, entry in value.items()}


class SpaceSpec(Job):
    """A search space in a file of its own, for many sweeps."""

    kind: Literal["space"] = "space"
    of: Literal["pretrain", "finetune"] = "pretrain"
    """The kind of job whose fields it names."""
    parameters: dict[str, ParameterSpec] = Field(min_length=1, examples=[{"batch.concat": [1, 2, 4, 8]}])
    """Dotted path of a field of the job spec to its values; `path: [a, b]` is short for `path: {choices: [a, b]}`."""

    @field_validator("parameters", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return as_parameters(value)
