"""Transcripts as text, JSON lines, SRT, WebVTT and CTM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from w2v2_ray.audio.suffixes import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES
from w2v2_ray.recognition.hypothesis import Word
from w2v2_ray.recognition.transcription import Transcript

TranscriptFormat = Literal["text", "jsonl", "srt", "vtt", "ctm"]
Detail = Literal["word", "character", "none"]
"""How fine the times of `jsonl` are."""

_MAX_CUE_S = 6.0
_MAX_CUE_CHARACTERS = 84  # two lines of 42, the usual limit of subtitles
_PAUSE_S = 1.0
_SUFFIXES = frozenset((*AUDIO_SUFFIXES, *CONVERTIBLE_SUFFIXES))


def render(transcript: Transcript, wanted: TranscriptFormat, detail: Detail = "word") -> str:
    """One transcript in a format, with a newline at its end."""
    if wanted == "text":
        return transcript.hypothesis.text + "\n"
    if wanted == "jsonl":
        return json.dumps(_as_dict(transcript, detail), ensure_ascii=False) + "\n"
    if wanted == "ctm":
        return "".join(line + "\n" for line in _ctm(transcript))
    return _subtitles(transcript, wanted)


def base_name(source: str) -> str:
    """A source's name without folders and the suffix of audio; `talk.part1` of a dataset keeps all of it."""
    path = Path(source)
    return (path.stem if path.suffix.lower() in _SUFFIXES else path.name) or "audio"


def _as_dict(transcript: Transcript, detail: Detail) -> dict[str, Any]:
    hypothesis = transcript.hypothesis
    document: dict[str, Any] = {
        "name": transcript.name,
        "text": hypothesis.text,
        "confidence": None if transcript.is_silent else round(hypothesis.confidence, 4),
        "duration_s": round(transcript.duration_s, 3),
    }
    if transcript.note is not None:
        document["note"] = transcript.note
    if detail == "none":
        return document
    document["words"] = []
    for word in hypothesis.words:
        entry = {"word": word.text, **_span(word.start_frame, word.end_frame, transcript.frame_s)}
        entry["confidence"] = round(word.confidence, 4)
        if detail == "character":
            entry["characters"] = [
                {
                    "character": c.symbol,
                    **_span(c.start_frame, c.end_frame, transcript.frame_s),
                    "confidence": round(c.confidence, 4),
                }
                for c in word.characters
            ]
        document["words"].append(entry)
    return document


def _span(start_frame: int, end_frame: int, frame_s: float) -> dict[str, Any]:
    return {"start_s": round(start_frame * frame_s, 3), "end_s": round(end_frame * frame_s, 3)}


def _ctm(transcript: Transcript) -> Iterator[str]:
    """NIST's time-marked conversation format: file, channel, start, duration, word, confidence."""
    name = base_name(transcript.name).replace(" ", "_")
    for word in transcript.hypothesis.words:
        start_s = word.start_frame * transcript.frame_s
        length_s = (word.end_frame - word.start_frame) * transcript.frame_s
        yield f"{name} 1 {start_s:.2f} {length_s:.2f} {word.text} {word.confidence:.4f}"


def _subtitles(transcript: Transcript, wanted: Literal["srt", "vtt"]) -> str:
    import pysubs2

    subtitles = pysubs2.SSAFile()
    for words in cues(transcript):
        start_s, end_s = (frame * transcript.frame_s for frame in (words[0].start_frame, words[-1].end_frame))
        text = _two_lines(" ".join(word.text for word in words))
        subtitles.append(pysubs2.SSAEvent(start=round(start_s * 1e3), end=round(end_s * 1e3), text=text))
    return str(subtitles.to_string(wanted))


def cues(transcript: Transcript) -> Iterator[list[Word]]:
    """Words that are shown together: no longer than people can read, and not across a pause."""
    frame_s = transcript.frame_s
    cue: list[Word] = []
    for word in transcript.hypothesis.words:
        if cue and (
            (word.end_frame - cue[0].start_frame) * frame_s > _MAX_CUE_S
            or (word.start_frame - cue[-1].end_frame) * frame_s > _PAUSE_S
            or len(" ".join(w.text for w in (*cue, word))) > _MAX_CUE_CHARACTERS
        ):
            yield cue
            cue = []
        cue.append(word)
    if cue:
        yield cue


def _two_lines(text: str) -> str:
    """Break a long cue at the space nearest its middle; pysubs2 has a line break of its own."""
    if len(text) <= _MAX_CUE_CHARACTERS // 2:
        return text
    spaces = [index for index, character in enumerate(text) if character == " "]
    if not spaces:
        return text
    middle = min(spaces, key=lambda index: abs(index - len(text) // 2))
    return text[:middle] + "\\N" + text[middle + 1 :]
