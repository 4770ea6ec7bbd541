"""Names that people give to the columns of a list of audio."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

AUDIO_KEYS = (
    *("audio_filepath", "audio_path", "audio_file", "audio_filename", "audio_file_path", "audio", "file_name"),
    *("filename", "filepath", "file_path", "file", "path", "wav_path", "wav_filename", "wav_filepath", "wav_file"),
    *("wav", "flac", "mp3", "sound", "recording", "clip", "utterance_path", "audio_id"),
)
TEXT_KEYS = (
    *("text", "transcript", "transcription", "sentence", "normalized_text", "normalised_text"),
    *("normalized_transcription", "normalized_transcript", "normalized_sentence", "raw_text", "raw_transcription"),
    *("transcript_text", "orthographic_transcription", "target_text", "tgt_text", "utterance", "txt"),
)
TEXT_FILE_KEYS = ("text_filepath", "text_path", "text_file", "transcript_path", "transcript_file", "txt_path")
SPEAKER_KEYS = ("speaker", "speaker_id", "speaker_name", "spk", "spk_id", "spkid", "client_id", "reader", "reader_id")
OFFSET_KEYS = (
    "offset",
    "offset_s",
    "start",
    "start_s",
    "start_time",
    "start_sec",
    "begin",
    "begin_time",
    "segment_start",
)
END_KEYS = ("end", "end_s", "end_time", "end_sec", "stop", "stop_time", "segment_end")
DURATION_KEYS = ("duration", "duration_s", "duration_sec", "duration_seconds", "dur", "audio_duration")

_MILLISECONDS = ("ms", "msec", "millis", "milliseconds")
_IN_SAMPLES = re.compile(
    r"(segment_)?(start|begin|offset|onset|end|stop)(_|s_)?(in_)?(sample|frame)s?|(sample|frame)_(start|begin|offset|end|stop)"
)


@dataclass(frozen=True)
class ChosenKeys:
    """Columns that the user names; None leaves the choice to the usual names.

    Args:
        audio: Path of the audio.
        text: What is said.
        speaker: Who says it.
    """

    audio: str | None = None
    text: str | None = None
    speaker: str | None = None


USUAL_KEYS = ChosenKeys()


def find_key(row: Mapping[str, Any], usual: Iterable[str], chosen: str | None = None) -> str | None:
    """The row's key for something: the chosen one, or the first of the usual names that has a value.

    Capital letters make no difference to the usual names.
    """
    if chosen is not None:
        return chosen if chosen in row else None
    by_lower = {key.lower().strip().replace(" ", "_"): key for key in reversed(list(row))}
    present = [by_lower[name] for name in usual if name in by_lower]
    return next((key for key in present if row[key] is not None), None)


def in_milliseconds(usual: Iterable[str]) -> tuple[str, ...]:
    """The usual names of times in seconds, as they are called in milliseconds."""
    stems = dict.fromkeys(name.removesuffix("_s").removesuffix("_sec").removesuffix("_seconds") for name in usual)
    return tuple(f"{stem}_{unit}" for stem in stems for unit in _MILLISECONDS)


def place_in_samples(row: Mapping[str, Any]) -> str | None:
    """A key that says in samples or frames where an utterance begins or ends, whose rate nobody says; or None."""
    return next((key for key in row if row[key] is not None and _IN_SAMPLES.fullmatch(key.lower().strip())), None)


def looks_like_text(value: Any) -> bool:
    """Whether a value may be what somebody said: words with spaces between them."""
    if not isinstance(value, str):
        return False
    words = value.split()
    letters = sum(character.isalpha() or character.isspace() for character in value)
    return len(words) >= 2 and letters > 0.7 * len(value)
