"""Files of transcripts with times: subtitles, Praat's TextGrids, NIST's lists of words and turns, Libri-light."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from w2v2_ray.data.corpora.item import writable
from w2v2_ray.data.corpora.text_lines import numbered_lines
from w2v2_ray.data.corpora.timed_texts import TimedText
from w2v2_ray.errors import DatasetError

SUBTITLE_SUFFIXES = (".srt", ".vtt", ".textgrid")
"""Of files about one recording: the one beside them."""
LIST_SUFFIXES = (".ctm", ".stm", ".rttm")
"""Of files that name the recordings they are about."""
_VOICE = re.compile(r"<v(?:\.[^ >]*)?\s+([^>]+)>")
_WORD_TIERS = re.compile(r"(?:(.+?)\s*[-:/]\s*)?(?:words?|ort|tokens?)", re.IGNORECASE)
_FINE_TIERS = re.compile(r".*(?:phone|phon|syll|mau|kan|pos|tone|f0|intensity).*", re.IGNORECASE)
_TEXT_TIERS = re.compile(r"(?:utterances?|sentences?|phrases?|transcript(?:ion)?|text|segments?)", re.IGNORECASE)
_NO_WORDS = frozenset({"", "sil", "sp", "spn", "<eps>", "<sil>", "<p:>", "_", "#"})
_SAME_TIME = 0.3
"""Tiers that hold more than this share of their time at once are levels of one analysis, not speakers."""
_IGNORED = "ignore_time_segment_in_scoring"


def is_timed_name(name: str) -> bool:
    """Whether a file may hold texts or turns with times, by its name."""
    return name.lower().endswith((*SUBTITLE_SUFFIXES, *LIST_SUFFIXES))


def read_subtitles(path: Path) -> list[TimedText]:
    """Entries of a `.srt`, `.vtt` or `.TextGrid`, in the order of their times; none where it holds phones only.

    Raises:
        ValueError: It cannot be read; the message says why.
    """
    try:
        found = _text_grid(path) if path.suffix.lower() == ".textgrid" else _subtitles(path)
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror})") from error
    except Exception as error:  # both libraries raise whatever their parsing meets
        raise ValueError(f"{path.name} cannot be read ({type(error).__name__}: {error})") from error
    return sorted(found, key=lambda text: (text.start_s, text.stop_s))


def read_list(path: Path) -> dict[str, list[TimedText]]:
    """Entries of a `.ctm`, `.stm` or `.rttm` by recording, in the order of their times.

    Raises:
        DatasetError: A line is malformed.
    """
    suffix = path.suffix.lower()
    read = {".ctm": _ctm_entry, ".stm": _stm_entry, ".rttm": _rttm_entry}[suffix]
    found: dict[str, list[TimedText]] = {}
    for number, line in numbered_lines(path):
        if line.lstrip().startswith((";;", "#")):
            continue
        try:
            entry = read(line.split())
        except (ValueError, IndexError):
            raise DatasetError(
                f"{path}:{number}: a line of a {suffix} file must be {_FORMS[suffix]}, this is {line[:80]!r}"
            ) from None
        if entry is not None:
            found.setdefault(entry[0], []).append(entry[1])
    return {name: sorted(texts, key=lambda text: (text.start_s, text.stop_s)) for name, texts in found.items()}


def read_voice_activity(path: Path) -> tuple[str | None, list[TimedText]]:
    """Speaker and times of speech of a recording of Libri-light, from the `.json` beside it; nothing from others."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        times = [(float(start), float(stop)) for start, stop in found["voice_activity"]]
        speaker = found.get("speaker")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None, []
    turns = [TimedText(start, stop) for start, stop in times if 0 <= start < stop]
    return (None if speaker is None else writable(str(speaker))), turns


def _subtitles(path: Path) -> list[TimedText]:
    import pysubs2

    form = path.suffix.lower().removeprefix(".")
    found = pysubs2.SSAFile.from_string(path.read_text(encoding="utf-8-sig"), format_=form, keep_html_tags=True)
    texts = []
    for event in found:
        voice = _VOICE.search(event.text)
        words = " ".join(re.sub(r"<[^>]*>", "", event.plaintext).split())
        if words and 0 <= event.start < event.end:
            speaker = writable(voice[1].strip()) if voice else None
            texts.append(TimedText(event.start / 1000, event.end / 1000, words, speaker))
    return texts


def _text_grid(path: Path) -> list[TimedText]:
    """Entries of the tier of what was said: of words, of sentences, or one tier for each speaker."""
    from praatio import textgrid

    grid = textgrid.openTextgrid(
        str(path), includeEmptyIntervals=False, reportingMode="silence", duplicateNamesMode="rename"
    )
    tiers = {tier.name: tier.entries for tier in grid.tiers if isinstance(tier, textgrid.IntervalTier)}
    words = {name: match for name in tiers if (match := _WORD_TIERS.fullmatch(name.strip()))}
    if words:
        return [text for name, match in words.items() for text in _entries(tiers[name], match[1], is_word=True)]
    spoken = {name: entries for name, entries in tiers.items() if entries and not _FINE_TIERS.fullmatch(name.strip())}
    named = [name for name in spoken if _TEXT_TIERS.fullmatch(name.strip())]
    if named or len(spoken) < 2 or _at_once(list(spoken.values())) > _SAME_TIME:
        chosen = named[0] if named else next(iter(spoken), None)
        return [] if chosen is None else _entries(spoken[chosen], None, is_word=False)
    return [text for name, entries in spoken.items() for text in _entries(entries, name, is_word=False)]


def _entries(entries: Iterable[tuple[float, float, str]], speaker: str | None, *, is_word: bool) -> list[TimedText]:
    return [
        TimedText(float(start), float(stop), " ".join(label.split()), speaker, is_word)
        for start, stop, label in entries
        if label.strip().lower() not in _NO_WORDS
    ]


def _at_once(tiers: Sequence[Sequence[tuple[float, float, str]]]) -> float:
    """Share of the time of the first two tiers in which both say something."""
    first, second = tiers[0], tiers[1]
    both = sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in first for b in second)
    return both / max(1e-9, min(sum(a[1] - a[0] for a in tier) for tier in (first, second)))


def _ctm_entry(fields: list[str]) -> tuple[str, TimedText] | None:
    name, channel, start, seconds, word = fields[:5]
    start_s, length_s = _times(start, seconds)
    if word.lower() in _NO_WORDS:
        return None
    speaker = None if channel in ("1", "A", "a", "0", "-") else f"s{channel}"
    return name, TimedText(start_s, start_s + length_s, word, speaker, is_word=True)


def _stm_entry(fields: list[str]) -> tuple[str, TimedText] | None:
    name, _, speaker, start, stop = fields[:5]
    start_s, stop_s = _times(start, stop)
    if stop_s <= start_s:
        raise ValueError
    words = fields[6:] if len(fields) > 5 and fields[5].startswith("<") else fields[5:]
    if not words or words[0].lower() == _IGNORED:
        return None
    return name, TimedText(start_s, stop_s, " ".join(words), speaker)


def _rttm_entry(fields: list[str]) -> tuple[str, TimedText] | None:
    if fields[0] != "SPEAKER":
        return None
    start_s, length_s = _times(fields[3], fields[4])
    return (fields[1], TimedText(start_s, start_s + length_s, None, fields[7])) if length_s else None


def _times(first: str, second: str) -> tuple[float, float]:
    times = float(first), float(second)
    if not all(0 <= time < float("inf") for time in times):
        raise ValueError
    return times


_FORMS = {
    ".ctm": "`recording channel start seconds word`",
    ".stm": "`recording channel speaker start end <labels> words`",
    ".rttm": "`SPEAKER recording channel start seconds <NA> <NA> speaker <NA> <NA>`",
}
