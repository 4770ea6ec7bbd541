"""What was said when, and how it cuts a recording into utterances.

Each entry with words becomes an utterance of its own. Words (CTM, a tier of words) are joined to what was said between
two pauses; subtitles stay as they are, unless recordings are cut anyway: then they are joined in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.piece_settings import PieceSettings

_GENERIC_SPEAKER = re.compile(r"(?:speaker|spk|s)?[ _-]?\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TimedText:
    """Something that was said from one time to another.

    Attributes:
        start_s: From the start of the recording.
        stop_s: The same.
        text: What; None where only the times are known.
        speaker: Who, where known.
        is_word: Whether it is one word of many.
    """

    start_s: float
    stop_s: float
    text: str | None = None
    speaker: str | None = None
    is_word: bool = False


def utterances(item: SourceItem, texts: Sequence[TimedText], pieces: PieceSettings | None) -> Iterator[SourceItem]:
    """The parts of a recording that its entries cut it into.

    Args:
        item: The whole recording.
        texts: Its entries.
        pieces: How recordings are cut; None joins nothing but words.
    """
    joined = _joined(texts, pieces or PieceSettings(), words_only=pieces is None)
    for text in joined:
        yield replace(
            item,
            id=f"{item.id}@{round(text.start_s * 1000)}ms",
            transcript=text.text,
            speaker=_speaker_of(item, text),
            offset_s=text.start_s,
            duration_s=text.stop_s - text.start_s,
            frames=None,
        )


def _speaker_of(item: SourceItem, text: TimedText) -> str | None:
    """Names such as SPEAKER_00 are those of one recording only."""
    if text.speaker is None:
        return item.speaker
    return f"{item.id}/{text.speaker}" if _GENERIC_SPEAKER.fullmatch(text.speaker) else text.speaker


def _joined(texts: Iterable[TimedText], pieces: PieceSettings, *, words_only: bool) -> list[TimedText]:
    """Neighbours of one speaker as one, until a pause, or until they are too long.

    What is made of words gets some of the pause on both sides, since words are listed as tightly as they were heard.
    """
    last: dict[str | None, int] = {}
    found: list[TimedText] = []
    for text in texts:
        place = last.get(text.speaker)
        before = None if place is None else found[place]
        if (
            before is not None
            and place is not None
            and (before.is_word or not words_only)
            and before.is_word == text.is_word
            and (before.text is None) == (text.text is None)
            and text.start_s - before.stop_s < pieces.pause_s
            and text.stop_s - before.start_s <= pieces.max_s - (2 * pieces.margin_s if text.is_word else 0.0)
        ):
            said = None if text.text is None else f"{before.text} {text.text}"
            found[place] = replace(before, stop_s=max(before.stop_s, text.stop_s), text=said)
        else:
            last[text.speaker] = len(found)
            found.append(text)
    return [_widened(found, place, pieces.margin_s) if text.is_word else text for place, text in enumerate(found)]


def _widened(texts: Sequence[TimedText], place: int, margin_s: float) -> TimedText:
    text = texts[place]
    before = text.start_s - (texts[place - 1].stop_s if place else -text.start_s)
    after = texts[place + 1].start_s - text.stop_s if place + 1 < len(texts) else 0.0
    return replace(
        text,
        start_s=max(0.0, text.start_s - min(margin_s, max(0.0, before / 2))),
        stop_s=text.stop_s + min(margin_s, max(0.0, after / 2)),
    )
