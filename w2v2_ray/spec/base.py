"""What every part of a job spec shares: frozen, closed to unknown keys, documented field by field."""

from __future__ import annotations

import warnings
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """Base of all spec models. Attribute docstrings become the descriptions in the JSON Schema."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        # `4.5` is never meant as the integer 4, nor "yes" as a number.
        coerce_numbers_to_str=False,
    )


class SpecWarning(UserWarning):
    """A valid spec that is known to cost its user a night."""


def advise(message: str) -> None:
    """Report something legal but unwise. `validate` collects these; libraries see a Python warning."""
    warnings.warn(message, SpecWarning, stacklevel=3)


Probability = Annotated[float, Field(ge=0.0, le=1.0)]
DropProbability = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
