"""Long recordings of a listing to pieces, file by file; what is found is kept until the dataset is finished."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any

import numpy as np

from w2v2_ray.audio.rejection import RejectReason, reject
from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.audio.speech_file import SpeechPart, open_speech
from w2v2_ray.data.corpora.item import SourceItem, stamp_of
from w2v2_ray.data.fetching import local_files
from w2v2_ray.data.piece_settings import PieceSettings
from w2v2_ray.data.schema import INGEST_STATE_NAME
from w2v2_ray.data.segmentation.detectors import Detector, DetectorName, make_detector
from w2v2_ray.data.segmentation.pieces import Cut, Piece, cut
from w2v2_ray.errors import AudioError
from w2v2_ray.places.storage import Location

_TIME = re.compile(r"@\d+ms$")
_VERSION = 1
"""Of what is kept: pieces of another version are found anew."""


@dataclass(frozen=True)
class SegmentSettings:
    """How long recordings are cut.

    Args:
        detector: What tells speech from the rest.
        pieces: How long the pieces are.
    """

    detector: DetectorName = "energy"
    pieces: PieceSettings = field(default_factory=PieceSettings)


@dataclass(frozen=True)
class Recording:
    """A recording and what it was cut into.

    Attributes:
        item: As it was listed.
        num_samples: Its length at 16 kHz.
        cut: None where it is left whole.
        problem: Why it cannot be used; `reason: detail` as of `AudioError`.
    """

    item: SourceItem
    num_samples: int = 0
    cut: Cut | None = None
    problem: str | None = None


@dataclass(frozen=True)
class SegmentTask:
    """Recordings to cut, for one worker. Picklable.

    Args:
        items: What was listed.
        settings: How they are cut.
        out: The dataset's folder, where what is found is kept; None keeps nothing.
    """

    items: tuple[SourceItem, ...]
    settings: SegmentSettings
    out: Location | None


@dataclass(frozen=True)
class SegmentReport:
    """What was cut.

    Attributes:
        detector: What told speech from the rest.
        recordings: That were cut.
        pieces: Into how many.
        hours: Of those recordings.
        kept_hours: Of the pieces.
        speech_share: Of those recordings, what was taken for speech.
        short_hours: In pieces that are too short.
        with_texts: Recordings left whole since they have a transcript, which cannot be cut.
    """

    detector: DetectorName
    recordings: int
    pieces: int
    hours: float
    kept_hours: float
    speech_share: float
    short_hours: float
    with_texts: int

    def __str__(self) -> str:
        silence = self.hours - self.kept_hours - self.short_hours
        texts = (
            f"; {self.with_texts:,} have a transcript, which cannot be cut, and are left whole"
            if self.with_texts
            else ""
        )
        return (
            f"{self.recordings:,} recordings of {self.hours:.2f} h cut at pauses ({self.detector}) into "
            f"{self.pieces:,} pieces of {self.kept_hours:.2f} h; {self.speech_share:.0%} is speech, {silence:.2f} h of "
            f"silence and other sound and {self.short_hours:.2f} h of pieces that are too short are left out{texts}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def segment_recordings(task: SegmentTask, progress: Callable[[int], None] | None = None) -> list[Recording]:
    """Find the pieces of recordings, or what an interrupted run of the same has found.

    A recording that cannot be read keeps its problem; ingest rejects it by name.

    Raises:
        MissingExtraError: The detector needs an extra that is not installed.
        StorageError: The dataset's folder cannot be written to.
    """
    detector: Detector | None = None
    found = []
    for item in task.items:
        if _is_left_alone(item, task.settings.pieces):
            found.append(Recording(item))
        else:
            kept = _kept(item, task)
            if kept is None:
                detector = detector or make_detector(task.settings.detector)
                kept = _segmented(item, task.settings, detector)
                note = _note(item, task)
                if note is not None:
                    note.write_bytes(json.dumps(_as_json(kept)).encode())
            found.append(kept)
        if progress is not None:
            progress(1)
    return found


def pieces_of(recordings: Iterable[Recording], detector: DetectorName) -> tuple[list[SourceItem], SegmentReport]:
    """Items to ingest in place of recordings, and the report."""
    items: list[SourceItem] = []
    cuts: list[tuple[Recording, Cut]] = []
    with_texts = 0
    for recording in recordings:
        item = recording.item
        if recording.cut is None:
            with_texts += item.transcript is not None
            items.append(item if recording.problem is None else replace(item, problem=recording.problem))
            continue
        cuts.append((recording, recording.cut))
        items += [_piece(item, piece) for piece in recording.cut.pieces]
    hours = 3600 * SAMPLE_RATE
    total = sum(recording.num_samples for recording, _ in cuts)
    return items, SegmentReport(
        detector,
        len(cuts),
        sum(len(found.pieces) for _, found in cuts),
        total / hours,
        sum(piece.stop - piece.start for _, found in cuts for piece in found.pieces) / hours,
        sum(found.speech_samples for _, found in cuts) / total if total else 0.0,
        sum(found.short_samples for _, found in cuts) / hours,
        with_texts,
    )


def _is_left_alone(item: SourceItem, pieces: PieceSettings) -> bool:
    """What was said in a whole cannot be cut; a part that a list names is cut where it is too long."""
    is_short = item.offset_s is not None and (item.duration_s is None or item.duration_s <= pieces.max_s)
    return item.problem is not None or item.transcript is not None or is_short


def _segmented(item: SourceItem, settings: SegmentSettings, detector: Detector) -> Recording:
    try:
        with local_files([item]) as files, files.path(item) as path, open_speech(path) as file:
            if file.num_samples <= settings.pieces.max_s * SAMPLE_RATE:
                return Recording(item, file.num_samples)
            part = SpeechPart(file, *_extent(item, file.num_samples))
            scores = np.concatenate([*detector.scores(part)])
            return Recording(item, part.num_samples, cut(scores, part.num_samples, settings.pieces))
    except AudioError as error:
        return Recording(item, problem=error.message)


def _extent(item: SourceItem, num_samples: int) -> tuple[int, int]:
    """Where the item begins and ends in its file, in samples at 16 kHz.

    Raises:
        AudioError: It begins behind the end.
    """
    if item.offset_s is None or item.duration_s is None:
        return 0, num_samples
    start = round(item.offset_s * SAMPLE_RATE)
    if start >= num_samples:
        raise reject(RejectReason.TRUNCATED, f"the part begins at {item.offset_s:.2f} s, behind the file's end")
    return start, min(num_samples, start + round(item.duration_s * SAMPLE_RATE))


def _piece(item: SourceItem, piece: Piece) -> SourceItem:
    start_s = (item.offset_s or 0.0) + piece.start / SAMPLE_RATE
    return replace(
        item,
        id=f"{_TIME.sub('', item.id)}@{round(start_s * 1000)}ms",
        offset_s=start_s,
        duration_s=(piece.stop - piece.start) / SAMPLE_RATE,
        frames=None,
    )


def _note(item: SourceItem, task: SegmentTask) -> Location | None:
    """Where the pieces of a recording are kept: under another name once the file or the settings are others."""
    if task.out is None:
        return None
    file = list(stamp_of(item) or ())
    member = None if item.member is None else astuple(item.member)
    part = [] if item.offset_s is None else [item.offset_s, item.duration_s]
    key = json.dumps([_VERSION, item.source, member, file, asdict(task.settings), *part])
    return task.out / INGEST_STATE_NAME / f"pieces-{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def _kept(item: SourceItem, task: SegmentTask) -> Recording | None:
    note = _note(item, task)
    if note is None or not note.exists():
        return None
    try:
        found = json.loads(note.read_bytes())
        parts = found["cut"]
        known = None if parts is None else Cut(tuple(Piece(*pair) for pair in parts["pieces"]), *parts["samples"])
        return Recording(item, found["num_samples"], known, found["problem"])
    except (ValueError, KeyError, TypeError):
        return None


def _as_json(recording: Recording) -> dict[str, Any]:
    found = recording.cut
    return {
        "num_samples": recording.num_samples,
        "problem": recording.problem,
        "cut": None
        if found is None
        else {
            "pieces": [[piece.start, piece.stop] for piece in found.pieces],
            "samples": [found.speech_samples, found.short_samples],
        },
    }


def shared_out(
    items: Sequence[SourceItem], settings: SegmentSettings, out: Location | None, jobs: int
) -> list[SegmentTask]:
    """Tasks of a few recordings each, so that all jobs have something to do until the end."""
    at_once = max(1, -(-len(items) // (8 * jobs)))
    return [
        SegmentTask(tuple(items[start : start + at_once]), settings, out) for start in range(0, len(items), at_once)
    ]
