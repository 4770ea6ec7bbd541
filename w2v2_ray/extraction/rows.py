"""What an extraction keeps of each source, as rows of its columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2v2_ray.data.listening.inputs import Source
from w2v2_ray.data.listening.pieces import Failure
from w2v2_ray.extraction.extract import (
    Codes,
    Features,
    Logits,
    extract_codes,
    extract_features,
    extract_logits,
    runs_of,
)
from w2v2_ray.extraction.extractor import Extractor
from w2v2_ray.extraction.settings import Dtype, ExtractSettings, column_of
from w2v2_ray.extraction.units import Units

Row = dict[str, Any]


def rows_of(
    sources: Iterable[Source], extractor: Extractor, settings: ExtractSettings, units: Units | None = None
) -> Iterator[Row | Failure]:
    """Extract sources, in their order.

    Args:
        sources: What to hear.
        extractor: The model.
        settings: What is wanted.
        units: The clusters, where those are wanted.

    Raises:
        UserError: When the model has no such layer, or no quantizer.
    """
    if settings.what == "codes":
        for codes in extract_codes(sources, extractor, cutting=settings.cutting):
            yield codes if isinstance(codes, Failure) else {**_facts(codes), **_code_columns(codes, settings)}
        return
    if settings.what == "logits":
        for logits in extract_logits(sources, extractor, cutting=settings.cutting):
            if isinstance(logits, Failure):
                yield logits
            else:
                yield {**_facts(logits), "logits": as_dtype(logits.log_probs, settings.dtype)}
        return
    for features in extract_features(
        sources,
        extractor,
        settings.layers,
        shortened=settings.shortened,
        pooled=settings.pooled,
        cutting=settings.cutting,
    ):
        if isinstance(features, Failure):
            yield features
        elif units is not None:
            [frames] = features.layers.values()
            yield {**_facts(features), **_unit_columns(units.nearest(frames), features.frame_s, settings)}
        else:
            yield {**_facts(features), **_feature_columns(features, settings)}


def as_dtype(array: NDArray[np.float32], dtype: Dtype) -> NDArray[Any]:
    """Round as the type has it; bfloat16 (to the nearest, ties to even) as its bits.

    Shape: unchanged.
    """
    if dtype != "bfloat16":
        return array.astype(dtype)
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_dtype(array: NDArray[Any], dtype: Dtype) -> NDArray[np.float32]:
    """Undo `as_dtype`.

    Shape: unchanged.
    """
    if dtype != "bfloat16":
        return array.astype(np.float32)
    return (array.astype(np.uint32) << 16).view(np.float32)


def _facts(result: Features | Codes | Logits) -> Row:
    return {"id": result.name, "duration_s": result.duration_s, "note": result.note}


def _feature_columns(features: Features, settings: ExtractSettings) -> Row:
    if settings.weights is not None:
        return {"mean_of_layers": as_dtype(features.mean_of_layers(settings.weights), settings.dtype)}
    return {column_of(layer): as_dtype(frames, settings.dtype) for layer, frames in features.layers.items()}


def _code_columns(codes: Codes, settings: ExtractSettings) -> Row:
    return _run_columns("codes", codes.runs()) if settings.collapsed else {"codes": codes.entries}


def _unit_columns(units: NDArray[np.int64], frame_s: float, settings: ExtractSettings) -> Row:
    return _run_columns("units", runs_of(units, frame_s)) if settings.collapsed else {"units": units}


def _run_columns(name: str, runs: list[tuple[int, float, float]]) -> Row:
    columns = list(zip(*runs, strict=True)) or [(), (), ()]
    return {name: np.array(columns[0], np.int64), "start_s": np.array(columns[1]), "end_s": np.array(columns[2])}
