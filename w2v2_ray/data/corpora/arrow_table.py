"""Hugging Face datasets as they are stored: Parquet files, and folders of `save_to_disk`, with bytes of audio.

An `Audio` column is a struct of `bytes` and `path`, with one of the two or both
(https://huggingface.co/docs/datasets/audio_dataset).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2v2_ray.data.corpora.files import is_audio_name
from w2v2_ray.data.corpora.item import SourceItem, valid_text, writable
from w2v2_ray.data.corpora.keys import AUDIO_KEYS, ChosenKeys, find_key
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.corpora.rows import path_below, with_fields
from w2v2_ray.data.members import Container, Member, arrow_batches
from w2v2_ray.errors import DatasetError

_ID_KEYS = ("id", "utterance_id", "utt_id", "segment_id", "uid", "key")


def find_parts(source: Path) -> list[Path]:
    """The files of a stored dataset, in order; none where a source is none.

    A dataset of several splits is given split by split: which of them to train on is not for us to guess.

    Raises:
        DatasetError: The folder holds several splits.
    """
    if source.is_file():
        return [source] if source.suffix.lower() == ".parquet" else []
    if (source / "dataset_dict.json").is_file():
        raise DatasetError(f"{source}: holds several splits; give one of them as the source: {_splits(source)}")
    state = source / "state.json"
    if state.is_file():
        try:
            names = [entry["filename"] for entry in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]
        except (ValueError, KeyError, TypeError, OSError):
            return []
        return [source / Path(name).name for name in names]
    return sorted(path for path in source.iterdir() if path.suffix.lower() == ".parquet" and path.is_file())


def read_parts(source: Path, notes: ListingNotes, chosen: ChosenKeys) -> Iterator[SourceItem]:
    """Utterances of a stored dataset, in the order of its rows.

    Raises:
        DatasetError: A file is damaged, or has no column of audio.
    """
    parts = find_parts(source)
    for path in parts:
        name = path.name if len(parts) > 1 else ""
        try:
            yield from _rows_of(path, name, notes, chosen)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
        except ValueError as error:  # Arrow's errors are
            raise DatasetError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None


def _rows_of(path: Path, prefix: str, notes: ListingNotes, chosen: ChosenKeys) -> Iterator[SourceItem]:
    number = 0
    for place, audio_key, table in _tables(path, chosen):
        container: Container = "parquet" if path.suffix.lower() == ".parquet" else "arrow"
        for row in range(table.num_rows):
            fields = {name: table.column(name)[row].as_py() for name in table.column_names}
            audio = fields.pop(audio_key)
            shown = f"{prefix or path.name}/{number}"
            item = _audio(path, audio, Member(container, "", place, row, audio_key), shown)
            yield _described(item, fields, number, prefix, notes, chosen)
            number += 1


def _tables(path: Path, chosen: ChosenKeys) -> Iterator[tuple[int, str, Any]]:
    """Row groups or batches, without the bytes, which are read when their turn comes."""
    import pyarrow as pa

    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            key = _audio_key(path, file.schema_arrow, chosen)
            for group in range(file.num_row_groups):
                yield group, key, _row_group(file, group, key)
        return
    with pa.memory_map(str(path)) as file:
        for number, batch in enumerate(arrow_batches(file)):
            key = _audio_key(path, batch.schema, chosen)
            yield number, key, _without_bytes(pa.Table.from_batches([batch]), key)


def _row_group(file: Any, group: int, key: str) -> Any:
    """A row group, of whose audio nothing is read but the paths where its statistics say that all bytes are there."""
    import pyarrow as pa

    metadata = file.metadata.row_group(group)
    columns = [metadata.column(place) for place in range(metadata.num_columns)]
    holders = [column for column in columns if column.path_in_schema in (key, f"{key}.bytes")]
    statistics = holders[0].statistics if len(holders) == 1 else None
    if statistics is None or not statistics.has_null_count or statistics.null_count:
        return _without_bytes(file.read_row_group(group), key)
    others = [name for name in file.schema_arrow.names if name != key]
    has_path = any(column.path_in_schema == f"{key}.path" for column in columns)
    table = file.read_row_group(group, columns=[*others, *([f"{key}.path"] if has_path else [])])
    rows = metadata.num_rows
    paths = _plain(table.column(key).combine_chunks()).field("path") if has_path else pa.nulls(rows, pa.string())
    audio = pa.StructArray.from_arrays([paths, pa.array([True] * rows)], ["path", "there"])
    return (table.drop_columns([key]) if has_path else table).append_column(key, audio)


def _audio_key(path: Path, schema: Any, chosen: ChosenKeys) -> str:
    import pyarrow as pa

    def holds_audio(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(place).name in ("bytes", "path") for place in range(kind.num_fields))
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    known = {field.name: field.type for field in schema}
    usual = [name for name in AUDIO_KEYS if name in known]
    wanted = [chosen.audio] if chosen.audio else [*usual, *known]
    found = next((name for name in wanted if name in known and holds_audio(known[name])), None)
    if found is None:
        raise DatasetError(
            f"{path}: has no column of audio, which is a struct of `bytes` and `path`, or bytes; it has "
            f"{', '.join(known)} (--audio-key NAME says which it is)"
        )
    return found


def _without_bytes(table: Any, key: str) -> Any:
    """A table in which audio is its path and whether there are bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(key).combine_chunks()
    if not pa.types.is_struct(column.type):
        paths, there = pa.nulls(len(column), pa.string()), pc.is_valid(column)
    else:
        names = {column.type.field(place).name for place in range(column.type.num_fields)}
        paths = pc.struct_field(column, "path") if "path" in names else pa.nulls(len(column), pa.string())
        there = pc.is_valid(pc.struct_field(column, "bytes")) if "bytes" in names else pa.array([False] * len(column))
    reduced = pa.StructArray.from_arrays([_plain(paths), _plain(there)], ["path", "there"])
    return table.set_column(table.column_names.index(key), key, reduced)


def _plain(array: Any) -> Any:
    return array.combine_chunks() if hasattr(array, "combine_chunks") else array


def _audio(path: Path, audio: dict[str, Any] | None, member: Member, shown: str) -> SourceItem:
    name = (audio or {}).get("path") or ""
    if audio is not None and audio["there"]:
        suffix = Path(name).suffix if is_audio_name(name) else ""
        source = valid_text(f"{shown}/{Path(name).name}" if name else shown)
        return SourceItem(shown, str(path), source, member=replace(member, name=f"audio{suffix}"))
    if name:
        found = path_below(path.parent, name)
        return SourceItem(shown, str(found), valid_text(shown))
    return SourceItem(shown, str(path), shown, problem="missing: the row has neither bytes nor a path of audio")


def _described(
    item: SourceItem, fields: dict[str, Any], number: int, prefix: str, notes: ListingNotes, chosen: ChosenKeys
) -> SourceItem:
    """With its id, text and speaker."""
    id_key = find_key(fields, _ID_KEYS)
    name = str(fields[id_key]) if id_key is not None else f"{number:08d}"
    item, taken = with_fields(item, fields, notes, chosen)
    for key, value in fields.items():
        if key != id_key and key not in taken and value not in (None, ""):
            notes.passed_over(Passed.KEYS, key)
    return replace(item, id=writable(name if id_key is not None or not prefix else f"{prefix}/{name}"))


def _splits(source: Path) -> str:
    return ", ".join(str(path.parent) for path in sorted(source.glob("*/state.json"))) or "a folder within it"
