"""What every part of a job spec shares: frozen, closed to unknown keys, documented field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator


class Finding(NamedTuple):
    """One broken rule, or one piece of advice, about several fields together."""

    message: str
    """The values, the limit and the remedy."""
    keys: tuple[str, ...]
    """The fields concerned, dotted, relative to the spec that states the rule; the one to point at first."""


class BrokenRulesError(ValueError):
    """All rules that one spec breaks, so that its user sees them at once."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("; ".join(finding.message for finding in findings))
        self.findings = findings


def largest_divisor(number: int, *, at_most: int) -> int:
    """The largest divisor of a number that is not above a limit; quick for any number a user may type."""
    best, small = 1, 1
    while small * small <= number:
        if number % small == 0:
            best = max(best, *(d for d in (small, number // small) if d <= at_most), 1)
        small += 1
        if small > 1_000_000:  # a virtual world of 10^12 sub-batches needs no better advice
            break
    return best


class Spec(BaseModel):
    """Base of all spec models. Attribute docstrings become the descriptions in the JSON Schema."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=False,
    )

    added_later: ClassVar[tuple[str, ...]] = ()
    """Fields that came after runs had been begun without them; see `unsaid`."""

    def unsaid(self) -> dict[str, Any]:
        """What a dump leaves out so as to read as it did before there were these fields, for pydantic's `exclude`.

        That is every field of `added_later` that has its default, in the parts of this spec too.
        """
        fields = type(self).model_fields
        found: dict[str, Any] = {
            name: True for name in self.added_later if getattr(self, name) == fields[name].get_default()
        }
        for name in fields:
            value = getattr(self, name)
            if name not in found and isinstance(value, Spec) and (inner := value.unsaid()):
                found[name] = inner
        return found

    def broken_rules(self) -> Iterator[Finding]:
        """Rules between fields that this spec breaks. Subclasses yield theirs; a spec that yields any is refused."""
        yield from ()

    def advice(self) -> Iterator[Finding]:
        """What is legal here but known to cost its user a night. `validate` prints it; nothing fails."""
        yield from ()

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        findings = tuple(self.broken_rules())
        if findings:
            raise BrokenRulesError(findings)
        return self


# Strict, because pydantic would otherwise read `layers: true` as 1 and "4" as 4.
Int = Annotated[int, Strict()]
Float = Annotated[float, Strict()]
Probability = Annotated[Float, Field(ge=0.0, le=1.0)]
DropProbability = Annotated[Float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[Int, Field(ge=1)]
NonNegativeInt = Annotated[Int, Field(ge=0)]
PositiveFloat = Annotated[Float, Field(gt=0.0)]
NonNegativeFloat = Annotated[Float, Field(ge=0.0)]
