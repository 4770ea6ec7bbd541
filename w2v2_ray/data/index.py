"""The index of a dataset: length and place of every utterance, in one memory-mapped Arrow file.

All rows lie in a single record batch, so that each column is one array: opening takes no time whatever the size, and
the batch plan of millions of utterances never touches a shard.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from w2v2_ray.data.schema import INDEX_SCHEMA
from w2v2_ray.errors import DatasetError

Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class DatasetIndex:
    """Where each utterance is; row i of every array describes utterance i.

    Args:
        num_samples: Length.
        shard: Number of the shard in dataset.json.
        row: Row within that shard.

    Shape:
        num_samples, shard, row: [utterances]
    """

    num_samples: Int32Array
    shard: Int32Array
    row: Int32Array

    def __len__(self) -> int:
        return len(self.num_samples)

    @classmethod
    def from_shards(cls, num_samples_of_shards: Sequence[Int32Array]) -> DatasetIndex:
        """Put shards one after the other."""
        counts = [len(lengths) for lengths in num_samples_of_shards]
        empty = np.zeros(0, np.int32)
        return cls(
            num_samples=np.concatenate([empty, *num_samples_of_shards]).astype(np.int32, copy=False),
            shard=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
            row=np.concatenate([empty, *(np.arange(count, dtype=np.int32) for count in counts)]),
        )

    def to_bytes(self) -> pa.Buffer:
        """The file's content."""
        arrays = [pa.array(column) for column in (self.num_samples, self.shard, self.row)]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, INDEX_SCHEMA) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=INDEX_SCHEMA))
        return sink.getvalue()

    @classmethod
    def open(cls, path: Path, name: str) -> DatasetIndex:
        """Map an index file.

        Args:
            path: The file.
            name: What to call it in messages.

        Raises:
            DatasetError: It is no index.
        """
        try:
            batch = pa.ipc.open_file(pa.memory_map(os.fspath(path))).get_batch(0)
            columns = [batch.column(field.name).to_numpy(zero_copy_only=True) for field in INDEX_SCHEMA]
        except (OSError, KeyError, pa.ArrowException) as error:
            raise DatasetError(f"{name}: is not a whole index ({' '.join(str(error).split())})") from error
        return cls(*columns)
