"""What an extraction is to give, and the columns that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from w2v2_ray.data.listening.pieces import Cutting
from w2v2_ray.errors import SpecError
from w2v2_ray.extraction.extract import USUAL
from w2v2_ray.extraction.layers import Layer
from w2v2_ray.extraction.units import Units

What = Literal["features", "codes", "units", "logits"]
Dtype = Literal["float32", "float16", "bfloat16"]

_ARROW_TYPES = {"float32": pa.float32(), "float16": pa.float16(), "bfloat16": pa.uint16()}
"""Arrow has no bfloat16: its bits are kept, and `reading.open_extraction` turns them into float32 again."""


@dataclass(frozen=True)
class ExtractSettings:
    """What is wanted of every source.

    Attributes:
        what: "features": hidden states; "codes": the quantizer's choices; "units": clusters of a layer's frames;
            "logits": log-probabilities of a recogniser's outputs.
        layers: Of features or units; None takes all. See `layers.Layer`.
        weights: Of features: weigh the layers into one with these; None keeps each.
        pooled: Of features: the mean over frames.
        shortened: Of features: an Hourglass's middle layers at their own rate.
        collapsed: Of codes and units: equal neighbours as one, with times.
        dtype: How features are kept.
        cutting: How long sources are cut.
    """

    what: What = "features"
    layers: tuple[Layer, ...] | None = (-1,)
    weights: tuple[float, ...] | None = None
    pooled: bool = False
    shortened: bool = False
    collapsed: bool = False
    dtype: Dtype = "float32"
    cutting: Cutting = USUAL

    def __post_init__(self) -> None:
        if self.weights is not None and self.layers is not None and len(self.weights) != len(self.layers):
            raise SpecError(f"--weights: {len(self.weights)} numbers for {len(self.layers)} layers; give one for each")
        if self.what == "units" and (self.layers is None or len(self.layers) != 1):
            count = "all" if self.layers is None else len(self.layers)
            raise SpecError(f"--layers: units are of one layer, not of {count}; give one, such as 4")
        if self.what != "features" and (self.pooled or self.shortened or self.weights):
            raise SpecError(f"--pooled, --shortened and --weights are for features; {self.what} have none of them")
        if self.what in ("features", "logits") and self.collapsed:
            raise SpecError("--collapse: is for codes and units, whose neighbours can be equal")

    @property
    def columns(self) -> list[str]:
        """Columns of features, once the layers are the model's own."""
        return ["mean_of_layers"] if self.weights is not None else [column_of(layer) for layer in self.layers or ()]

    def as_dict(self) -> dict[str, Any]:
        """The settings that change what is given; how many are computed together does not."""
        cutting = {"window_s": self.cutting.window_s, "overlap_s": self.cutting.overlap_s}
        listed = {
            "layers": list(self.layers or ()),
            "weights": list(self.weights) if self.weights is not None else None,
        }
        return {**asdict(self), **listed, "cutting": cutting}


def column_of(layer: Layer) -> str:
    """The column's name of a layer."""
    return f"layer_{layer}" if isinstance(layer, int) else layer


def schema_of(settings: ExtractSettings, widths: Sequence[int], codebooks: int, outputs: int) -> pa.Schema:
    """The columns of an extraction.

    Args:
        settings: What is wanted.
        widths: D of each column of features.
        codebooks: G of codes.
        outputs: Symbols of a recogniser.
    """
    fields = [pa.field("id", pa.string()), pa.field("duration_s", pa.float64()), pa.field("note", pa.string())]
    if settings.what == "features":
        for name, width in zip(settings.columns, widths, strict=True):
            frame = pa.list_(_ARROW_TYPES[settings.dtype], width)
            fields.append(pa.field(name, frame if settings.pooled else pa.list_(frame)))
    elif settings.what == "logits":
        fields.append(pa.field("logits", pa.list_(pa.list_(_ARROW_TYPES[settings.dtype], outputs))))
    elif settings.collapsed:
        fields += [pa.field(settings.what, pa.list_(pa.int64()))]
        fields += [pa.field(name, pa.list_(pa.float64())) for name in ("start_s", "end_s")]
    elif settings.what == "codes":
        fields.append(pa.field("codes", pa.list_(pa.list_(pa.int32(), codebooks))))
    else:
        fields.append(pa.field("units", pa.list_(pa.int64())))
    return pa.schema(fields)


def describe(settings: ExtractSettings, units: Units | None) -> dict[str, Any]:
    """What identifies an extraction's results, the model and the sources aside."""
    return {**settings.as_dict(), "units": units.identity if units is not None else None}
