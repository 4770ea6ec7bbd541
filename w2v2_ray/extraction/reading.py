"""Reading what `w2v2-ray extract` wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from w2v2_ray.errors import DatasetError
from w2v2_ray.extraction.folder import read_about
from w2v2_ray.extraction.rows import from_dtype

Row = dict[str, Any]


class Extraction:
    """Rows of an extraction, in the order of its sources; going through it reads the files by memory map.

    A row has `id`, `duration_s`, `note`, and arrays: layers [T, D] (or [D]) as float32 whatever they are kept as,
    `codes` [T, G] or `units` [T]; of collapsed ones `codes` or `units`, `start_s` and `end_s` [runs].

    Args:
        path: The folder.

    Attributes:
        about: What it holds: model, settings, sources.

    Raises:
        DatasetError: When it is none, or not finished.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about = read_about(path)
        self._files = sorted(path.glob("data-*.arrow"))
        expected = self.about.get("parts")
        if len(self._files) != expected:
            raise DatasetError(
                f"{path}: {len(self._files)} of {expected} files are there; give the same `w2v2-ray extract` again"
            )

    def __iter__(self) -> Iterator[Row]:
        dtype = self.about["settings"]["dtype"]
        for file in self._files:
            with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
                for batch in reader:
                    for number in range(batch.num_rows):
                        yield {
                            field.name: _value(batch.column(place)[number], field.type, dtype)
                            for place, field in enumerate(batch.schema)
                        }


def open_extraction(path: str | os.PathLike[str]) -> Extraction:
    """Open what `w2v2-ray extract` wrote.

    Raises:
        DatasetError: When the folder is none, or not finished.
    """
    return Extraction(Path(path))


def _value(scalar: Any, kind: pa.DataType, dtype: Any) -> Any:
    if not pa.types.is_nested(kind):
        return scalar.as_py()
    shape: list[int] = []
    values = scalar.values
    shape.append(len(values))
    while pa.types.is_nested(values.type):
        shape.append(values.type.list_size)
        values = values.flatten()
    array: NDArray[Any] = values.to_numpy(zero_copy_only=False).reshape(shape)
    if values.type == pa.uint16() or (pa.types.is_floating(values.type) and values.type != pa.float64()):
        return from_dtype(array, dtype)
    return np.array(array)
