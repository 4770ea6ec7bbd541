from __future__ import annotations

import json

import pysubs2
import pytest

from w2v2_ray.recognition.hypothesis import Character, Hypothesis, Word
from w2v2_ray.recognition.transcript_formats import base_name, cues, render
from w2v2_ray.recognition.transcription import Transcript


def word(text: str, start: int) -> Word:
    return Word(tuple(Character(c, start + 2 * i, start + 2 * i + 1, 0.5 + 0.1 * i) for i, c in enumerate(text)))


def transcript(*words: Word) -> Transcript:
    return Transcript("folder/a talk.wav", 12.5, 0.02, Hypothesis(words))


HELLO = transcript(word("HI", 10), word("YOU", 50))


def test_text_is_the_words():
    assert render(HELLO, "text") == "HI YOU\n"


def test_json_lines_hold_words_with_times_and_confidence():
    document = json.loads(render(HELLO, "jsonl"))
    assert document["text"] == "HI YOU"
    assert document["duration_s"] == 12.5
    assert document["confidence"] == 0.5
    assert document["words"][1] == {"word": "YOU", "start_s": 1.0, "end_s": 1.1, "confidence": 0.5}
    assert "characters" not in document["words"][0]


def test_json_lines_hold_characters_when_asked():
    characters = json.loads(render(HELLO, "jsonl", "character"))["words"][0]["characters"]
    assert characters[1] == {"character": "I", "start_s": 0.24, "end_s": 0.26, "confidence": 0.6}
    assert "words" not in json.loads(render(HELLO, "jsonl", "none"))


def test_ctm_is_one_word_a_line():
    assert render(HELLO, "ctm").splitlines() == ["a_talk 1 0.20 0.06 HI 0.5000", "a_talk 1 1.00 0.10 YOU 0.5000"]


@pytest.mark.parametrize("wanted", ["srt", "vtt"])
def test_subtitles_read_back(wanted):
    read = pysubs2.SSAFile.from_string(render(HELLO, wanted), format_=wanted)
    assert [(event.start, event.end, event.plaintext) for event in read] == [(200, 1100, "HI YOU")]


def test_a_cue_ends_at_a_pause():
    assert [[w.text for w in cue] for cue in cues(transcript(word("A", 0), word("B", 20), word("C", 90)))] == [
        ["A", "B"],
        ["C"],
    ]


def test_cues_are_short_in_time_and_text():
    many = transcript(*(word("WORD", 40 * number) for number in range(100)))
    for cue in cues(many):
        assert (cue[-1].end_frame - cue[0].start_frame) * 0.02 <= 6.0
        assert len(" ".join(w.text for w in cue)) <= 84
    assert sum(len(cue) for cue in cues(many)) == 100


def test_long_cues_have_two_lines():
    fast = transcript(*(word("SEVENTY", 15 * number) for number in range(9)))
    event = pysubs2.SSAFile.from_string(render(fast, "srt"))[0]
    assert event.plaintext.count("\n") == 1
    assert all(len(line) <= 42 for line in event.plaintext.split("\n"))


def test_silence_has_no_words_in_any_format():
    silent = transcript()
    assert render(silent, "text") == "\n"
    assert render(silent, "ctm") == ""
    assert json.loads(render(silent, "jsonl"))["words"] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("folder/talk.WAV", "talk"),
        ("talk.opus", "talk"),
        ("84-121123-0000", "84-121123-0000"),
        ("fsh_1.part2", "fsh_1.part2"),
        ("fsh_1.part2@1500ms", "fsh_1.part2@1500ms"),
    ],
)
def test_only_the_suffix_of_audio_is_cut_off_a_name(source, expected):
    assert base_name(source) == expected
