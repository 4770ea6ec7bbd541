"""The plan of an ingest: which utterances go into which shard.

It depends on the source and the settings only, so whoever writes a shard, and in whichever order, the dataset comes
out the same byte by byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from w2v2_ray.audio.reading import DurationLimits
from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.audio.signal import SignalLimits
from w2v2_ray.data.corpora.item import SourceItem, stamp_of
from w2v2_ray.data.ingestion.text_limits import TextLimits
from w2v2_ray.data.schema import INGEST_STATE_NAME, SCHEMA_VERSION, Codec, ShardEntry
from w2v2_ray.places.storage import Location

_PCM_BYTES_PER_S = 2 * SAMPLE_RATE
_PCM_SUFFIXES = (".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".au", ".snd", ".caf", ".sph", ".nist")
_EXPANSION = dict.fromkeys(_PCM_SUFFIXES, 1.0) | {".flac": 1.8}  # decoded bytes per byte of file, roughly
_LOSSY_EXPANSION = 4.0
_FLAC_RATIO = 0.55
_CELL_BYTES = 150_000
"""Of audio in a table whose cells are not read before their turn."""


@dataclass(frozen=True)
class IngestSettings:
    """What decides the content of a dataset, besides the source.

    Args:
        codec: How audio is stored.
        limits: Lengths that are kept.
        target_shard_bytes: Size that shards should have, roughly.
        signal: Signals that are kept.
        texts: Transcripts that are kept.
        drop_copies: Keep only the first of several utterances with the same samples.
    """

    codec: Codec = "pcm16"
    limits: DurationLimits = field(default_factory=DurationLimits)
    target_shard_bytes: int = 128 * 2**20
    signal: SignalLimits = field(default_factory=SignalLimits)
    texts: TextLimits = field(default_factory=TextLimits)
    drop_copies: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for keys; filters that are off are left out, as before there were any."""
        fields = asdict(self)
        for name in ("texts", "drop_copies"):
            if getattr(self, name) == getattr(IngestSettings(), name):
                del fields[name]
        return fields


@dataclass(frozen=True)
class ShardTask:
    """One shard to write. Picklable.

    Args:
        number: Place among the shards.
        key: Hash of everything that decides the shard's content.
        items: What goes in.
        settings: How.
        out: The dataset's folder.
        copies: Utterances that have the samples of an earlier one, and that one's id, once that is known.
    """

    number: int
    key: str
    items: tuple[SourceItem, ...]
    settings: IngestSettings
    out: Location
    copies: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Name of the shard's file."""
        return f"shard-{self.number:05d}.arrow"

    @property
    def note(self) -> Location:
        """Where the finished shard is noted."""
        return self.out / INGEST_STATE_NAME / f"shard-{self.number:05d}.json"


class Reject(BaseModel):
    """A line of rejects.jsonl."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    path: str
    reason: str
    """A `RejectReason`."""
    detail: str


class ShardResult(BaseModel):
    """The note of a finished shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """The task's."""
    entry: ShardEntry | None
    """None if every item was rejected: then there is no file."""
    num_samples: tuple[int, ...]
    """Length of each row."""
    speakers: tuple[str, ...]
    """Distinct, sorted."""
    transcribed: int
    """Rows with a transcript."""
    rejects: tuple[Reject, ...]
    digests: tuple[tuple[str, str], ...] = ()
    """Id and SHA-256 of the samples of each row, where copies are to be found."""
    odd: dict[str, int] = {}
    """Rows with something odd about their signal, for each `SignalNote`."""


def plan_shards(items: Sequence[SourceItem], settings: IngestSettings, out: Location) -> list[ShardTask]:
    """Cut a list of items into shards of about the target size, estimated from durations or file sizes."""
    tasks: list[ShardTask] = []
    chunk: list[SourceItem] = []
    digest = _key_start(settings)
    chunk_bytes = 0.0
    for position, item in enumerate(items):
        file_bytes, modified_ns = stamp_of(item) or (0, 0)  # ingest will report it as missing
        # Changed files have another size or time: their shard is written anew.
        digest.update(json.dumps([_content_fields(item), file_bytes, modified_ns]).encode())
        chunk.append(item)
        chunk_bytes += _estimate_bytes(item, file_bytes, settings.codec)
        if chunk_bytes >= settings.target_shard_bytes or position + 1 == len(items):
            tasks.append(ShardTask(len(tasks), digest.hexdigest(), tuple(chunk), settings, out))
            chunk, chunk_bytes, digest = [], 0.0, _key_start(settings)
    return tasks


def ingest_key(tasks: Sequence[ShardTask]) -> str:
    """Hash of everything that decides the dataset's content."""
    return hashlib.sha256("\n".join(task.key for task in tasks).encode()).hexdigest()


def asked_key(items: Sequence[SourceItem], settings: IngestSettings, segment: dict[str, Any]) -> str:
    """Hash of what was asked for: the files as they are listed, before any is cut, and the settings."""
    digest = _key_start(settings)
    digest.update(json.dumps(segment).encode())
    for item in items:
        digest.update(json.dumps([_content_fields(item), stamp_of(item)]).encode())
    return str(digest.hexdigest())


def _key_start(settings: IngestSettings) -> Any:
    return hashlib.sha256(json.dumps([SCHEMA_VERSION, SAMPLE_RATE, settings.as_dict()]).encode())


def _content_fields(item: SourceItem) -> tuple[Any, ...]:
    """All that decides a row, which leaves out where the source happens to lie."""
    fields = dict(zip(SourceItem.__slots__, astuple(item), strict=True))
    del fields["path"], fields["stamp"]
    if item.member is None:
        del fields["member"]  # as the keys of datasets were before there were members
    return tuple(fields.values())


def _estimate_bytes(item: SourceItem, file_bytes: int, codec: Codec) -> float:
    """Bytes that an item will take in the shard, roughly."""
    if item.duration_s is not None:
        pcm_bytes = item.duration_s * _PCM_BYTES_PER_S
    elif item.member is not None:
        encoded_bytes = item.member.extent if item.member.container == "tar" else _CELL_BYTES
        pcm_bytes = encoded_bytes * _EXPANSION.get(Path(item.member.name).suffix.lower(), _LOSSY_EXPANSION)
    else:
        pcm_bytes = file_bytes * _EXPANSION.get(Path(item.path.partition("?")[0]).suffix.lower(), _LOSSY_EXPANSION)
    return pcm_bytes * (_FLAC_RATIO if codec == "flac" else 1.0)
