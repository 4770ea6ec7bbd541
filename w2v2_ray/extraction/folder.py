"""An extraction's folder: Arrow files of rows, written whole one after the other, so that it can be gone on with.

The layout is that of `datasets.load_from_disk` of Hugging Face; `extract.json` beside it says what the rows are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from w2v2_ray.data.listening.pieces import Failure
from w2v2_ray.errors import DatasetError, StorageError
from w2v2_ray.extraction.rows import Row
from w2v2_ray.places.durable import write_text
from w2v2_ray.places.new_files import new_file

MANIFEST = "extract.json"
_FAILURES = b"w2v2_ray.failures"


@dataclass(frozen=True)
class ExtractionFolder:
    """Where the rows of an extraction are.

    Attributes:
        path: Its folder.
        parts: Files that it will have.
    """

    path: Path
    parts: int

    @classmethod
    def begin(cls, path: Path, identity: dict[str, Any], parts: int) -> ExtractionFolder:
        """Make the folder, or find the one that an earlier call began.

        Raises:
            StorageError: When something else is there: other files, or another extraction.
        """
        manifest = path / MANIFEST
        if manifest.is_file():
            found = read_about(path)
            differing = [name for name in identity if found.get(name) != identity[name]]
            if differing:
                raise StorageError(
                    f"{path}: holds another extraction ({', '.join(differing)} differ); give another --out"
                )
            return cls(path, parts)
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise StorageError(f"{path}: exists and holds something else; give another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
            write_text(manifest, json.dumps(identity, indent=1))
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
        return cls(path, parts)

    def part(self, number: int) -> Path:
        """The file of a part."""
        return self.path / f"data-{number:05d}-of-{self.parts:05d}.arrow"

    def missing(self) -> list[int]:
        """Parts that are not written yet."""
        return [number for number in range(self.parts) if not self.part(number).is_file()]

    def write(self, number: int, schema: pa.Schema, rows: Iterable[Row | Failure]) -> None:
        """Write a part; one row is held at a time.

        Raises:
            StorageError: When it cannot be written.
        """
        failures: list[Failure] = []
        with (
            new_file(self.part(number)) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_stream(sink, schema) as writer,
        ):
            for row in rows:
                if isinstance(row, Failure):
                    failures.append(row)
                else:
                    writer.write_batch(_batch(row, schema))
            if failures:  # an empty batch carries what could not be extracted
                told = json.dumps([asdict(failure) for failure in failures]).encode()
                empty = pa.record_batch([pa.array([], field.type) for field in schema], schema=schema)
                writer.write_batch(empty, custom_metadata={_FAILURES: told})

    def finish(self, schema: pa.Schema) -> list[Failure]:
        """Make it a folder that `datasets.load_from_disk` reads.

        Returns:
            What could not be extracted.
        """
        names = [self.part(number).name for number in range(self.parts)]
        fingerprint = hashlib.sha256((self.path / MANIFEST).read_bytes()).hexdigest()[:16]
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": fingerprint,
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
        info = {"citation": "", "description": "", "homepage": "", "license": ""}
        info_text = json.dumps({**info, "features": {field.name: _feature(field.type) for field in schema}}, indent=2)
        write_text(self.path / "dataset_info.json", info_text)
        write_text(self.path / "state.json", json.dumps(state, indent=2))
        return [failure for number in range(self.parts) for failure in self._failures(number)]

    def _failures(self, number: int) -> Iterator[Failure]:
        with pa.memory_map(str(self.part(number))) as source, pa.ipc.open_stream(source) as reader:
            for _, metadata in reader.iter_batches_with_custom_metadata():
                if metadata is not None and _FAILURES in metadata:
                    yield from (Failure(**entry) for entry in json.loads(metadata[_FAILURES]))


def read_about(path: Path) -> dict[str, Any]:
    """What an extraction holds.

    Raises:
        DatasetError: When the folder is none.
    """
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path}: no {MANIFEST} in it; give a folder that `w2v2-ray extract` made") from error
    except ValueError as error:
        raise DatasetError(f"{path / MANIFEST}: damaged ({error}); extract again to another folder") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path / MANIFEST}: damaged; extract again to another folder")
    return content


def _batch(row: Row, schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch([_column(row[field.name], field.type) for field in schema], schema=schema)


def _column(value: Any, kind: pa.DataType) -> pa.Array:
    """One row's value as a column of one."""
    if not isinstance(value, np.ndarray):
        return pa.array([value], kind)
    return _nested(value[None], kind)


def _nested(array: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """An array as nested lists, without a Python object for every number.

    Shape: [rows, ...].
    """
    if not pa.types.is_nested(kind):
        return pa.array(array, kind)
    values = _nested(array.reshape(-1, *array.shape[2:]), kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(values, type=kind)
    offsets = pa.array(np.arange(len(array) + 1, dtype=np.int32) * array.shape[1])
    return pa.ListArray.from_arrays(offsets, values, type=kind)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """A column as `datasets.Features` writes it."""
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "List"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    names: Sequence[tuple[Any, str]] = ((pa.float16(), "float16"), (pa.float32(), "float32"), (pa.float64(), "float64"))
    return {"dtype": dict(names).get(kind, str(kind)), "_type": "Value"}
