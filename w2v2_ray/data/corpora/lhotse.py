"""Lhotse's manifests: cuts, or recordings with supervisions beside them.

https://lhotse.readthedocs.io/en/latest/corpus.html. Of cuts those of one recording and one channel are read; a cut
that mixes, pads or transforms is rejected by its name, since its audio stands nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2v2_ray.data.corpora.item import SourceItem, item_at, item_below, item_of, writable
from w2v2_ray.data.corpora.json_manifest import entries_of
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.corpora.rows import path_below
from w2v2_ray.errors import DatasetError
from w2v2_ray.places.stores import is_uri

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
_CUTS = frozenset(("MonoCut", "MultiCut", "MixedCut", "PaddingCut"))
_KINDS = ("recordings", "supervisions")

Entry = Mapping[str, Any]


def kind_of(path: Path) -> str | None:
    """`cuts`, `recordings` or `supervisions` by the first entry; None where a file is none of them."""
    if not path.name.lower().endswith(SUFFIXES):
        return None
    try:
        first = next((entry for _, entry in entries_of(path)), None)
    except DatasetError:
        return None
    if not isinstance(first, dict):
        return None
    if first.get("type") in _CUTS:
        return "cuts"
    if "sources" in first and "sampling_rate" in first:
        return "recordings"
    return "supervisions" if {"recording_id", "start", "duration"} <= first.keys() else None


def find_manifests(root: Path) -> tuple[Path, Path | None] | None:
    """A folder's recordings and supervisions, as lhotse's recipes write them; None where there are none.

    Raises:
        DatasetError: There are several pairs.
    """
    found: dict[str, list[Path]] = {kind: [] for kind in _KINDS}
    for path in sorted(root.iterdir()):
        for kind in _KINDS:
            if kind in path.name and kind_of(path) == kind:
                found[kind].append(path)
    recordings = found["recordings"]
    if not recordings:
        return None
    if len(recordings) > 1:
        raise DatasetError(
            f"{root}: holds recordings of several parts ({', '.join(path.name for path in recordings)}); give one of "
            f"them as the source, such as {recordings[0]}"
        )
    return recordings[0], supervisions_beside(recordings[0])


def supervisions_beside(recordings: Path) -> Path | None:
    """The supervisions that belong to recordings, by their name."""
    beside = recordings.with_name(recordings.name.replace("recordings", "supervisions"))
    return beside if beside != recordings and beside.is_file() else None


def read_cuts(path: Path, notes: ListingNotes) -> Iterator[SourceItem]:
    """Utterances of cuts, one each.

    Raises:
        DatasetError: An entry is malformed; the message gives the line.
    """
    for place, entry in entries_of(path):
        cut = _object(entry, place)
        recording = cut.get("recording")
        if cut.get("type") != "MonoCut" or not isinstance(recording, dict):
            name = str(cut.get("id", "?"))
            problem = f"not_as_listed: is a {cut.get('type')}, whose audio is put together; save it (cuts.save_audios)"
            yield replace(item_of(path, Path(path.name)), id=writable(name), problem=problem)
            continue
        item = _audio(path, recording, _channel(cut, place), place)
        start_s, duration_s = _seconds(cut, "start", place), _seconds(cut, "duration", place)
        item = _part(item, recording, start_s, duration_s)
        yield with_supervisions(replace(item, id=writable(str(cut.get("id")))), _supervisions(cut, place), notes)


def supervisions_of_cuts(path: Path) -> Iterator[tuple[str, list[Entry]]]:
    """Ids of cuts, and what is said in each; for audio that is found in another way.

    Raises:
        DatasetError: An entry is malformed; the message gives the line.
    """
    for place, entry in entries_of(path):
        cut = _object(entry, place)
        yield str(cut.get("id")), _supervisions(cut, place)


def read_recordings(recordings: Path, supervisions: Path | None, notes: ListingNotes) -> Iterator[SourceItem]:
    """Utterances of supervisions; whole recordings where there are none.

    Raises:
        DatasetError: An entry is malformed, or of a recording that is not there; the message gives the line.
    """
    known: dict[str, tuple[str, Entry]] = {}
    for place, entry in entries_of(recordings):
        known[str(_object(entry, place).get("id"))] = (place, entry)
    if supervisions is None:
        for name, (place, recording) in known.items():
            yield replace(_audio(recordings, recording, None, place), id=writable(name))
        return
    used: set[str] = set()
    for place, entry in entries_of(supervisions):
        segment = _object(entry, place)
        name = str(segment.get("recording_id"))
        if name not in known:
            raise DatasetError(f"{place}: there is no recording {name!r} in {recordings.name}")
        used.add(name)
        recording_place, recording = known[name]
        item = _audio(recordings, recording, _channel(segment, place), recording_place)
        item = _part(item, recording, _seconds(segment, "start", place), _seconds(segment, "duration", place))
        yield with_supervisions(replace(item, id=writable(str(segment.get("id")))), [segment], notes)
    for name in known.keys() - used:
        notes.passed_over(Passed.WITHOUT_SUPERVISION, "recordings", name)


def _audio(path: Path, recording: Entry, channel: int | None, place: str) -> SourceItem:
    """The audio of a recording, or the problem that it is somewhere else than in a file."""
    sources = [source for source in recording.get("sources") or [] if isinstance(source, dict)]
    chosen = [source for source in sources if channel is None or channel in (source.get("channels") or [channel])]
    channels = recording.get("channel_ids") or [0]
    problem = None
    if len(chosen) != 1 or not isinstance(chosen[0].get("source"), str):
        raise DatasetError(f"{place}: must have one source of audio, this has {len(chosen)}")
    is_address = chosen[0].get("type") == "url" and is_uri(chosen[0]["source"])
    if chosen[0].get("type") == "shar":
        problem = "not_as_listed: its audio is in a Shar archive; give the folder of the archives as the source"
    elif chosen[0].get("type") != "file" and not is_address:
        problem = (
            f"not_as_listed: its audio comes from a {chosen[0].get('type')!s}, and only files are read; save it "
            "(recording.move_to_memory and save, or cuts.save_audios)"
        )
    elif recording.get("transforms"):
        problem = "not_as_listed: it is changed as it is read (transforms); save it (cuts.save_audios)"
    elif channel is not None and len(channels) > 1 and len(sources) == 1:
        problem = f"not_as_listed: is channel {channel} of {len(channels)} in one file; write it to a file of its own"
    if problem is None and is_uri(chosen[0]["source"]):
        return replace(item_at(chosen[0]["source"]), speaker=None)
    found = path_below(path.parent, chosen[0]["source"]) if problem is None else path
    return replace(item_below(found, path.parent), problem=problem, speaker=None)


def _part(item: SourceItem, recording: Entry, start_s: float, duration_s: float) -> SourceItem:
    """The part of a recording; the whole where it is that."""
    whole_s = recording.get("duration")
    if start_s == 0 and isinstance(whole_s, (int, float)) and abs(whole_s - duration_s) < 1e-3:
        return item
    return replace(item, offset_s=start_s, duration_s=duration_s)


def with_supervisions(item: SourceItem, supervisions: list[Entry], notes: ListingNotes) -> SourceItem:
    """What is said and by whom, of one supervision or of several in order."""
    supervisions = sorted(supervisions, key=lambda one: float(one.get("start") or 0))
    texts = [str(one["text"]) for one in supervisions if one.get("text") is not None]
    speakers = {str(one["speaker"]) for one in supervisions if one.get("speaker")}
    if texts:
        notes.read("transcripts from supervisions")
        if not any(text.strip() for text in texts):
            notes.passed_over(Passed.EMPTY_TEXTS, "supervisions")
    if len(speakers) == 1:
        notes.read("speakers from supervisions")
    return replace(
        item,
        transcript=writable(" ".join(texts)) if texts else None,
        speaker=writable(speakers.pop()) if len(speakers) == 1 else None,
    )


def _supervisions(cut: Entry, place: str) -> list[Entry]:
    return [_object(one, place) for one in cut.get("supervisions") or []]


def _channel(entry: Entry, place: str) -> int | None:
    channel = entry.get("channel")
    if isinstance(channel, list):
        channel = channel[0] if len(channel) == 1 else None
    if channel is not None and not isinstance(channel, int):
        raise DatasetError(f"{place}: `channel` must be a whole number, this is {channel!r}")
    return channel


def _seconds(entry: Entry, key: str, place: str) -> float:
    value = entry.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1e9:
        raise DatasetError(f"{place}: `{key}` must be a number of seconds, 0 or more, this is {str(value)[:40]!r}")
    return float(value)


def _object(entry: Any, place: str) -> Entry:
    if not isinstance(entry, dict):
        raise DatasetError(f"{place}: must be an object of lhotse's, this is {str(entry)[:40]!r}")
    return entry
