"""Ingest without Ray: writing a shard, and closing a dataset.

A finished shard leaves a note in `.ingest/`; an ingest that was killed finds it and goes on from there. dataset.json
comes last, so a folder without it is unfinished whatever else it holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from pydantic import ValidationError

from w2v2_ray.audio.reading import Excerpt, Speech, judge_speech
from w2v2_ray.audio.rejection import FILTERS, RejectReason, reject
from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.codec import digest_of
from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.fetching import LocalFiles, local_files
from w2v2_ray.data.index import DatasetIndex
from w2v2_ray.data.ingestion.ingest_plan import Reject, ShardResult, ShardTask, ingest_key
from w2v2_ray.data.integrity import read_dataset_manifest
from w2v2_ray.data.schema import (
    INDEX_NAME,
    INGEST_NAME,
    INGEST_STATE_NAME,
    MANIFEST_NAME,
    REJECTS_NAME,
    SCHEMA_VERSION,
    DatasetManifest,
    DatasetTotals,
    FileEntry,
    ShardEntry,
    fingerprint_of,
)
from w2v2_ray.data.shard import ShardWriter
from w2v2_ray.errors import AudioError, DatasetError
from w2v2_ray.places.storage import Location

_LOCK_NAME = "lock"

Progress = Callable[[int], None]
"""Told how many more items are done."""


def write_shard(task: ShardTask, progress: Progress | None = None) -> ShardResult:
    """Write one shard and its note, or find them already there.

    Args:
        task: What to write.
        progress: Told after each item.

    Raises:
        StorageError: The dataset's folder cannot be written to.
    """
    finished = _finished(task)
    if finished is not None:
        if progress is not None:
            progress(len(task.items))
        return finished
    with _temporary_file(task) as temporary, local_files(task.items) as files:
        writer = ShardWriter(temporary, task.settings.codec)
        num_samples: list[int] = []
        speakers: set[str] = set()
        transcribed = 0
        rejects: list[Reject] = []
        digests: list[tuple[str, str]] = []
        odd: Counter[str] = Counter()
        try:
            for item in task.items:
                try:
                    speech = _load(item, task, files)
                except AudioError as error:
                    rejects.append(_reject(item, error))
                else:
                    writer.append(item.id, speech.samples, item.transcript, item.speaker, item.source)
                    num_samples.append(len(speech.samples))
                    speakers.update({item.speaker} if item.speaker is not None else ())
                    transcribed += item.transcript is not None
                    if task.settings.drop_copies:
                        digests.append((item.id, digest_of(speech.samples).hex()))
                    odd.update(note.value for note in speech.notes)
                if progress is not None:
                    progress(1)
            written = writer.close()
        except BaseException:
            writer.abort()
            raise
        entry = None
        if written.rows:
            entry = ShardEntry(
                file=task.file,
                bytes=written.num_bytes,
                sha256=written.sha256,
                rows=written.rows,
                samples=written.samples,
            )
            (task.out / task.file).upload(temporary)
    result = ShardResult(
        key=task.key,
        entry=entry,
        num_samples=tuple(num_samples),
        speakers=tuple(sorted(speakers)),
        transcribed=transcribed,
        rejects=tuple(rejects),
        digests=tuple(digests),
        odd=dict(sorted(odd.items())),
    )
    task.note.write_bytes(result.model_dump_json().encode())
    return result


def finished_dataset(out: Location, key: str) -> DatasetManifest | None:
    """The dataset that is already here, if an equal ingest made it; None if the folder is free or unfinished.

    Raises:
        DatasetError: The folder holds another dataset, or other files.
    """
    names = out.names()
    if MANIFEST_NAME in names:
        manifest = read_dataset_manifest(out)
        found = json.loads((out / INGEST_NAME).read_bytes()).get("key") if INGEST_NAME in names else None
        if found != key:
            raise DatasetError(
                f"{out}: already holds a dataset made from another source, files or settings; "
                "choose another --out, or delete the folder"
            )
        return manifest
    if names and INGEST_STATE_NAME not in names:
        raise DatasetError(f"{out}: is not empty and holds no dataset ({names[0]}, ...); choose another --out")
    return None


def finished_as_asked(out: Location, asked: str) -> DatasetManifest | None:
    """The dataset that is already here, if the same was asked for; see `asked_key`."""
    if not (out / MANIFEST_NAME).exists() or not (out / INGEST_NAME).exists():
        return None
    found = json.loads((out / INGEST_NAME).read_bytes()).get("asked")
    return read_dataset_manifest(out) if found == asked else None


@contextmanager
def ingest_folder(out: Location) -> Iterator[None]:
    """Hold the dataset's folder for one ingest and clear what a killed one left half-written.

    Raises:
        DatasetError: Another ingest is writing there.
    """
    state = out / INGEST_STATE_NAME
    state.make_folder()
    local = state.local_path
    if local is None:
        yield
        return
    try:
        with FileLock(local / _LOCK_NAME).acquire(timeout=0):
            for left_over in local.parent.glob(".shard-*.tmp"):
                left_over.unlink(missing_ok=True)
            yield
    except Timeout:
        raise DatasetError(f"{out}: another `w2v2-ray prepare` is writing there; wait for it or stop it") from None


def note_rejects(results: Sequence[ShardResult], out: Location) -> list[Reject]:
    """Write rejects.jsonl and return what is in it."""
    rejects = [reject for result in results for reject in result.rejects]
    (out / REJECTS_NAME).write_bytes("".join(f"{reject.model_dump_json()}\n" for reject in rejects).encode())
    return rejects


def finalise(
    tasks: Sequence[ShardTask],
    results: Sequence[ShardResult],
    out: Location,
    max_rejects: float,
    asked: str | None = None,
    source: dict[str, Any] | None = None,
) -> DatasetManifest:
    """Write rejects, index and dataset.json, in this order, and forget the notes.

    Args:
        tasks: The whole plan.
        results: One for each task, in the same order.
        out: The dataset's folder.
        max_rejects: Fraction of items that may be rejected.
        asked: See `asked_key`.
        source: What to record in ingest.json about where the dataset came from.

    Raises:
        DatasetError: Too many were rejected, or all; rejects.jsonl then says which and why, and the finished shards
            stay for the next attempt.
    """
    rejects = note_rejects(results, out)
    check_rejects(rejects, sum(len(task.items) for task in tasks), out, max_rejects)
    entries = tuple(result.entry for result in results if result.entry is not None)
    keep = {entry.file for entry in entries}
    for name in out.names():
        if name.startswith("shard-") and name not in keep:
            (out / name).delete()  # of an earlier plan that was never finished
    index = DatasetIndex.from_shards(
        [np.array(result.num_samples, np.int32) for result in results if result.entry is not None]
    ).to_bytes()
    (out / INDEX_NAME).write_bytes(index)
    totals = _totals(entries, results, len(rejects))
    record: dict[str, Any] = {"key": ingest_key(tasks), "settings": tasks[0].settings.as_dict()}
    if asked is not None:
        record["asked"] = asked
    if source is not None:
        counts = totals.model_dump(include={"utterances", "transcribed", "speakers"})
        record["source"] = source | {"used": counts, "rejected": count_reasons(rejects)}
    (out / INGEST_NAME).write_bytes((json.dumps(record, indent=1) + "\n").encode())
    codec = tasks[0].settings.codec
    manifest = DatasetManifest(
        schema_version=SCHEMA_VERSION,
        sample_rate=SAMPLE_RATE,
        codec=codec,
        fingerprint=fingerprint_of(codec, entries),
        totals=totals,
        index=FileEntry(file=INDEX_NAME, bytes=index.size, sha256=hashlib.sha256(index).hexdigest()),
        shards=entries,
        created_by=f"w2v2-ray {version('w2v2-ray')}",
    )
    (out / MANIFEST_NAME).write_bytes(manifest.to_json())
    return manifest


def recorded_rejects(out: Location) -> dict[str, int]:
    """What a finished ingest rejected, by reason; empty where an earlier version of this program made the dataset."""
    if not (out / INGEST_NAME).exists():
        return {}
    reasons: dict[str, int] = json.loads((out / INGEST_NAME).read_bytes()).get("source", {}).get("rejected", {})
    return reasons


def forget_notes(out: Location) -> None:
    """Remove the notes of a finished ingest."""
    (out / INGEST_STATE_NAME).delete()


def count_reasons(rejects: Sequence[Reject]) -> dict[str, int]:
    """How many were rejected for each reason, most frequent first."""
    counts = Counter(reject.reason for reject in rejects)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def check_rejects(rejects: Sequence[Reject], total: int, out: Location, max_rejects: float) -> None:
    """Compare the rejects of an ingest with what is allowed.

    Raises:
        DatasetError: Too many were rejected, or all.
    """
    if not rejects:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in count_reasons(rejects).items())
    report = f"{len(rejects)} of {total} files were rejected ({reasons}); see {out / REJECTS_NAME}"
    if len(rejects) == total:
        raise DatasetError(f"{out}: no usable audio: {report}")
    unasked = sum(reject.reason not in FILTERS for reject in rejects)
    if unasked > max_rejects * total:
        raise DatasetError(
            f"{out}: {report}. The limit is --max-rejects {max_rejects:g}: mend the files, or run again with "
            f"--max-rejects {unasked / total + 0.0005:.3f}; finished shards are kept"
        )


def without_copies(parts: Sequence[Sequence[ShardTask]], results: Sequence[Sequence[ShardResult]]) -> list[ShardTask]:
    """Tasks that write those shards again that hold copies of what an earlier utterance has.

    Args:
        parts: Tasks of each dataset that is made together; what an earlier dataset holds is a copy in a later one.
        results: The same.
    """
    first: dict[str, str] = {}
    again: list[ShardTask] = []
    for tasks, written in zip(parts, results, strict=True):
        for task, result in zip(tasks, written, strict=True):
            copies = {}
            for name, digest in result.digests:
                if first.setdefault(digest, name) != name:
                    copies[name] = first[digest]
            if copies:
                key = hashlib.sha256(json.dumps([task.key, sorted(copies.items())]).encode()).hexdigest()
                again.append(replace(task, key=key, copies=copies))
    return again


def _totals(entries: Sequence[ShardEntry], results: Sequence[ShardResult], rejected: int) -> DatasetTotals:
    return DatasetTotals(
        utterances=sum(entry.rows for entry in entries),
        samples=sum(entry.samples for entry in entries),
        audio_bytes=sum(entry.bytes for entry in entries),
        speakers=len({speaker for result in results for speaker in result.speakers}),
        transcribed=sum(result.transcribed for result in results),
        rejected=rejected,
        odd=dict(sorted(sum((Counter(result.odd) for result in results), Counter()).items())),
    )


def _load(item: SourceItem, task: ShardTask, files: LocalFiles) -> Speech:
    settings = task.settings
    if item.problem is not None:
        raise AudioError(item.problem)
    if item.id in task.copies:
        raise reject(RejectReason.COPY, f"has the samples of {task.copies[item.id]} (--drop-copies)")
    excerpt = Excerpt(item.offset_s, item.duration_s, item.frames)
    with files.path(item) as path:
        speech = judge_speech(path, settings.limits, excerpt, settings.signal)
    settings.texts.check(item.transcript, len(speech.samples))
    return speech


def _reject(item: SourceItem, error: AudioError) -> Reject:
    reason, _, detail = error.message.partition(": ")
    return Reject(id=item.id, path=item.source, reason=reason, detail=detail)


def _finished(task: ShardTask) -> ShardResult | None:
    """The note of this shard, if an equal task wrote it and the file is there with its size."""
    if not task.note.exists():
        return None
    try:
        result = ShardResult.model_validate_json(task.note.read_bytes())
    except ValidationError:
        return None
    size = (task.out / task.file).size_bytes()
    whole = result.entry is None or result.entry.bytes == size
    return result if whole and result.key == task.key else None


@contextmanager
def _temporary_file(task: ShardTask) -> Iterator[Path]:
    """A file to write the shard to: beside its place when local, in a temporary folder otherwise."""
    local = task.out.local_path
    if local is None:
        folder = Path(tempfile.mkdtemp(prefix="w2v2-ray-"))
        try:
            yield folder / task.file
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    temporary = local / f".{task.file}.{os.getpid()}.tmp"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
