"""What a dataset looks like on disk: the Arrow schema of a shard and the models of its JSON files.

```
DATASET/
  dataset.json       DatasetManifest, written last: a folder without it is not a dataset
  index.arrow        one row an utterance: num_samples, shard, row
  shard-00000.arrow  Arrow IPC files, one row an utterance
  rejects.jsonl      the files that ingest left out, each with the reason
  ingest.json        what it was made from, so that the same `prepare` again is recognised
```
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from w2v2_ray.audio.samples import SAMPLE_RATE

SCHEMA_VERSION = 1
MANIFEST_NAME = "dataset.json"
INDEX_NAME = "index.arrow"
REJECTS_NAME = "rejects.jsonl"
INGEST_NAME = "ingest.json"
INGEST_STATE_NAME = ".ingest"
"""Folder of an unfinished ingest."""

Codec = Literal["pcm16", "flac"]
"""`pcm16`: int16 little-endian samples, read without copying. `flac`: about half the size, decoded when read."""

_FIELDS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        # 64-bit offsets: a batch of hour-long recordings passes 2 GiB.
        pa.field("audio", pa.large_binary(), nullable=False),
        pa.field("num_samples", pa.int32(), nullable=False),
        pa.field("transcript", pa.string()),
        pa.field("speaker", pa.string()),
        pa.field("source", pa.string(), nullable=False),
    ]
)
INDEX_SCHEMA = pa.schema(
    [pa.field(name, pa.int32(), nullable=False) for name in ("num_samples", "shard", "row")],
)


def shard_schema(codec: Codec) -> pa.Schema:
    """The schema of a shard; its metadata makes a single shard file self-describing."""
    return _FIELDS.with_metadata(
        {"schema_version": str(SCHEMA_VERSION), "sample_rate": str(SAMPLE_RATE), "codec": codec}
    )


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """A file of the dataset as it must be found."""

    file: str
    """Name within the dataset's folder."""
    bytes: int = Field(ge=0)
    """Size."""
    sha256: str
    """Checksum of the whole file, in hex."""


class ShardEntry(FileEntry):
    """One shard."""

    rows: int = Field(gt=0)
    """Utterances."""
    samples: int = Field(ge=0)
    """Audio samples over all of them."""


class DatasetTotals(_Frozen):
    """Sums over the shards."""

    utterances: int
    samples: int
    audio_bytes: int
    """Bytes of the shards."""
    speakers: int
    """Distinct speakers; utterances without one are not counted."""
    transcribed: int
    """Utterances with a transcript."""
    rejected: int
    """Files left out by ingest; see rejects.jsonl."""
    odd: dict[str, int] = {}
    """Utterances kept though something is odd about their signal, for each `SignalNote`; older datasets say nothing."""


class DatasetManifest(_Frozen):
    """`dataset.json`."""

    schema_version: int
    sample_rate: int
    codec: Codec
    fingerprint: str
    """Identity of content and order; see `fingerprint_of`."""
    totals: DatasetTotals
    index: FileEntry
    shards: tuple[ShardEntry, ...]
    created_by: str
    """Program and version."""

    def to_json(self) -> bytes:
        """The file's bytes: the same dataset always gives the same ones."""
        document = self.model_dump(mode="json")
        if not document["totals"]["odd"]:
            del document["totals"]["odd"]  # older versions of this program know no such field
        return (json.dumps(document, indent=1) + "\n").encode()


def fingerprint_of(codec: Codec, shards: Sequence[ShardEntry]) -> str:
    """Hash of content and order, from the shards' checksums: who wrote them, where and when does not enter."""
    digest = hashlib.sha256(f"w2v2-ray dataset {SCHEMA_VERSION} {SAMPLE_RATE} {codec}\n".encode())
    for shard in shards:
        digest.update(f"{shard.rows} {shard.samples} {shard.sha256}\n".encode())
    return digest.hexdigest()[:32]
