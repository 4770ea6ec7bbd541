"""Kaldi's data folders: `wav.scp` with `segments`, `text` and `utt2spk` beside it.

https://kaldi-asr.org/doc/data_prep.html. An entry of `wav.scp` may be a command, which is never run: where it does
nothing but decode one file (as in Kaldi's own recipes for LibriSpeech, WSJ and TIMIT), that file is read.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile

from w2v2_ray.data.corpora.files import pass_over
from w2v2_ray.data.corpora.item import SourceItem, item_at, item_below, item_of, valid_text
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.corpora.rows import path_below
from w2v2_ray.data.corpora.text_lines import numbered_lines
from w2v2_ray.errors import DatasetError
from w2v2_ray.places.stores import is_uri

RECORDINGS_NAME = "wav.scp"
_SEGMENTS, _TEXT, _SPEAKERS = "segments", "text", "utt2spk"
_DERIVED = frozenset(
    ("spk2utt", "spk2gender", "utt2dur", "utt2num_frames", "reco2dur", "reco2num_frames", "feats.scp", "cmvn.scp")
)
"""Files that follow from the others, or describe features."""
_TO_OUTPUT = frozenset(("-", "/dev/stdout", "pipe:", "pipe:1"))
_FIRST_CHANNEL = "-map_channel"
_PICKED = "not_as_listed: is the first of several channels in one file; write it to a file of its own"
_TO_THE_END = -1.0


@dataclass(frozen=True)
class _Segment:
    """A part of a recording. `end_s` is None where it goes on to the end."""

    recording: str
    start_s: float
    end_s: float | None


def is_kaldi(root: Path) -> bool:
    """Whether a folder is one of Kaldi's data folders."""
    return (root / RECORDINGS_NAME).is_file()


def read_kaldi(root: Path, notes: ListingNotes) -> Iterator[SourceItem]:
    """Utterances of a data folder, in the order of `segments`, or of `wav.scp` where there are none.

    A relative path counts from the folder, or from a folder above it where it leads to a file there: recipes write
    them as seen from where they run.

    Raises:
        DatasetError: A line is malformed, or speaks of a recording or an utterance that is not listed.
    """
    recordings = dict(_pairs(root / RECORDINGS_NAME, "RECORDING FILE"))
    texts = dict(_pairs(root / _TEXT, "UTTERANCE WORDS", may_be_empty=True)) if (root / _TEXT).is_file() else {}
    speakers = dict(_pairs(root / _SPEAKERS, "UTTERANCE SPEAKER")) if (root / _SPEAKERS).is_file() else {}
    segments = _segments(root / _SEGMENTS, recordings) if (root / _SEGMENTS).is_file() else None
    utterances = segments or {name: _Segment(name, 0.0, None) for name in recordings}
    for name in (_TEXT, _SPEAKERS):
        stray = next((key for key in (texts if name == _TEXT else speakers) if key not in utterances), None)
        if stray is not None:
            raise DatasetError(
                f"{root / name}: {stray} is no utterance of {_SEGMENTS if segments else RECORDINGS_NAME}; "
                "make them agree (utils/fix_data_dir.sh does)"
            )
    for name, segment in utterances.items():
        item = _recording(root, recordings[segment.recording], notes)
        if segments is not None:
            duration_s = None if segment.end_s is None else segment.end_s - segment.start_s
            item = replace(item, offset_s=segment.start_s, duration_s=duration_s)
        if name in texts:
            notes.read(f"transcripts from {_TEXT}")
            if not texts[name]:
                notes.passed_over(Passed.EMPTY_TEXTS, _TEXT)
        if name in speakers:
            notes.read(f"speakers from {_SPEAKERS}")
        yield replace(
            item, id=valid_text(name), transcript=texts.get(name), speaker=speakers.get(name, segment.recording)
        )
    for path in sorted(root.iterdir()):
        if path.is_file() and path.name not in {RECORDINGS_NAME, _SEGMENTS, _TEXT, _SPEAKERS, *_DERIVED}:
            pass_over(path, root, notes)


def _pairs(path: Path, form: str, *, may_be_empty: bool = False) -> Iterator[tuple[str, str]]:
    """Lines of a key and a value."""
    seen: set[str] = set()
    for number, line in numbered_lines(path):
        key, *rest = line.split(maxsplit=1)
        if not rest and not may_be_empty:
            raise DatasetError(f"{path}:{number}: a line must be `{form}`, this is {line!r}")
        if key in seen:
            raise DatasetError(f"{path}:{number}: {key} is there already; keep one of the lines")
        seen.add(key)
        yield key, rest[0].strip() if rest else ""


def _segments(path: Path, recordings: dict[str, str]) -> dict[str, _Segment]:
    found = {}
    for number, (name, rest) in enumerate(_pairs(path, "UTTERANCE RECORDING START END"), start=1):
        place, fields = f"{path}:{number}", rest.split()
        try:
            recording, start_s, end_s = fields[0], *(float(field) for field in fields[1:3])
        except (ValueError, IndexError):
            raise DatasetError(
                f"{place}: a line must be `UTTERANCE RECORDING START END` with times in seconds, this is "
                f"{f'{name} {rest}'!r}"
            ) from None
        if recording not in recordings:
            raise DatasetError(f"{place}: there is no recording {recording} in {RECORDINGS_NAME}")
        if start_s < 0 or (end_s != _TO_THE_END and not end_s > start_s):
            raise DatasetError(f"{place}: from {start_s:g} s to {end_s:g} s is no part of a recording")
        found[name] = _Segment(recording, start_s, None if end_s == _TO_THE_END else end_s)
    return found


def _recording(root: Path, entry: str, notes: ListingNotes) -> SourceItem:
    """The audio of an entry of `wav.scp`; with a problem where it is none."""
    name: str | None = entry
    if entry.endswith("|"):
        name = decoded_file(entry)
        if name is None:
            shown = entry if len(entry) <= 60 else f"{entry[:57]}..."
            problem = (
                f"not_as_listed: `{shown}` is a command that does more than decode a file, and is not run; run it "
                "once, and list the file that it makes"
            )
            return replace(item_of(root / RECORDINGS_NAME, Path(RECORDINGS_NAME)), problem=problem)
        notes.read(f"audio from files that commands of {RECORDINGS_NAME} decode")
    picks = name != entry and _FIRST_CHANNEL in entry.split()
    if is_uri(name or entry):
        item = item_at(name or entry)
        return replace(item, problem=_PICKED) if picks else item
    path = _found(root, name or entry)
    item = item_below(path, root)
    # lhotse writes the option for a file of one channel, too, where it changes nothing.
    return replace(item, problem=_PICKED) if picks and _has_channels(path) else item


def _has_channels(path: Path) -> bool:
    """Whether a file has several; what cannot be opened is judged when it is read."""
    try:
        return int(soundfile.info(path).channels) > 1
    except soundfile.SoundFileError:
        return False


def _found(root: Path, name: str) -> Path:
    places = (path_below(folder, name) for folder in (root, *root.parents))
    return next((path for path in places if path.is_file()), path_below(root, name))


def decoded_file(command: str) -> str | None:
    """The one file that a command of `wav.scp` decodes to its output; None where it may do anything else.

    Args:
        command: Ends with `|`; it is taken apart and never run.
    """
    try:
        words = shlex.split(command.rstrip("| \t"), posix=True)
    except ValueError:
        return None
    if not words or any(set("|;&<>$`(){}*?~") & set(word) for word in words):
        return None
    program, given = Path(words[0]).name, words[1:]
    taken = _PROGRAMS.get(program)
    return taken(given) if taken is not None else None


def _one(given: list[str], flags: frozenset[str], valued: dict[str, frozenset[str] | None]) -> str | None:
    """The only argument that is neither a known flag nor a known option with a value that changes nothing."""
    files, words = [], iter(given)
    for word in words:
        if word in valued:
            value, allowed = next(words, None), valued[word]
            if value is None or (allowed is not None and value not in allowed):
                return None
        elif word.startswith("-") and word not in _TO_OUTPUT:
            if word not in flags:
                return None
        elif word not in _TO_OUTPUT:
            files.append(word)
    return files[0] if len(files) == 1 else None


def _flac(given: list[str]) -> str | None:
    decodes = any(word in ("-d", "--decode", "-dcs", "-cd", "-dc", "-cds") for word in given)
    flags = frozenset(
        ("-c", "-d", "-s", "-cd", "-dc", "-dcs", "-cds", "--stdout", "--decode", "--silent", "--totally-silent")
    )
    return _one(given, flags, {}) if decodes else None


def _sph2pipe(given: list[str]) -> str | None:
    return _one(given, frozenset(("-p",)), {"-f": frozenset(("wav", "rif"))})


def _cat(given: list[str]) -> str | None:
    return _one(given, frozenset(), {})


def _sox(given: list[str]) -> str | None:
    """`sox FILE -t wav -`: what stands behind the output are effects."""
    place = next((number for number, word in enumerate(given) if word in _TO_OUTPUT), None)
    if place is None or place != len(given) - 1:
        return None
    return _one(
        given, frozenset(("-G", "-S", "-V0", "-V1")), {"-t": frozenset(("wav", "flac")), "-b": None, "-e": None}
    )


def _ffmpeg(given: list[str]) -> str | None:
    """`ffmpeg -i FILE -f wav -`, resampled and mixed or not, which is done here anyway."""
    if "-i" not in given or not _TO_OUTPUT & {given[-1]}:
        return None
    place = given.index("-i")
    rest = given[:place] + given[place + 2 :]
    plain: dict[str, frozenset[str] | None] = {"-f": frozenset(("wav",)), "-ar": None, "-v": None, "-loglevel": None}
    plain |= {
        "-threads": None,
        _FIRST_CHANNEL: frozenset(("0.0.0",)),
        "-ac": frozenset("1"),
        "-acodec": frozenset(("pcm_s16le",)),
        "-c:a": frozenset(("pcm_s16le",)),
    }
    nothing_else = _one(["file", *rest], frozenset(("-nostdin", "-hide_banner", "-vn", "-y")), plain) == "file"
    return given[place + 1] if nothing_else and place + 1 < len(given) else None


_PROGRAMS = {"flac": _flac, "sph2pipe": _sph2pipe, "cat": _cat, "sox": _sox, "ffmpeg": _ffmpeg}
