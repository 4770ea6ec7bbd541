"""Transcripts with times: each form cuts a recording into the same utterances, and what is broken is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from w2v2_ray.data.corpora.notes import Passed
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion.sources import read_source
from w2v2_ray.data.piece_settings import PieceSettings
from w2v2_ray.data.segmentation.recordings import SegmentSettings
from w2v2_ray.errors import DatasetError
from w2v2_ray.orchestration.ingest import prepare_dataset

ENTRIES = [(1.0, 2.5, "good morning", "anna"), (2.75, 4.0, "hello there", "ben"), (7.5, 9.0, "to bed", "anna")]
"""Start, end, text, speaker, in a recording of ten seconds."""
SECONDS = 10


def recording(root: Path, name: str = "talk.wav") -> np.ndarray:
    root.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(5).integers(-9000, 9000, SECONDS * 16_000).astype(np.int16)
    soundfile.write(root / name, samples, 16_000)
    return samples


def clock(seconds: float, mark: str) -> str:
    return f"00:00:{int(seconds):02d}{mark}{round(seconds % 1 * 1000):03d}"


def srt(entries=ENTRIES) -> str:
    return "\n".join(
        f"{number}\n{clock(start, ',')} --> {clock(stop, ',')}\n<i>{text}</i>\n"
        for number, (start, stop, text, _) in enumerate(entries, 1)
    )


def vtt(entries=ENTRIES) -> str:
    return "WEBVTT\n\n" + "\n".join(
        f"{clock(start, '.')} --> {clock(stop, '.')} align:start\n<v {who}>{text}</v>\n"
        for start, stop, text, who in entries
    )


def tier(name: str, entries) -> str:
    rows = "".join(
        f"        intervals [{number}]:\n            xmin = {start}\n            xmax = {stop}\n"
        f'            text = "{text}"\n'
        for number, (start, stop, text) in enumerate(entries, 1)
    )
    return (
        f'        class = "IntervalTier"\n        name = "{name}"\n        xmin = 0\n        xmax = {SECONDS}\n'
        f"        intervals: size = {len(entries)}\n{rows}"
    )


def text_grid(**tiers) -> str:
    body = "".join(f"    item [{number}]:\n{tier(*pair)}" for number, pair in enumerate(tiers.items(), 1))
    return (
        f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {SECONDS}\n'
        f"tiers? <exists>\nsize = {len(tiers)}\nitem []:\n{body}"
    )


def filled(entries) -> list[tuple[float, float, str]]:
    """Intervals that cover everything, as Praat writes them."""
    found, now = [], 0.0
    for start, stop, text in entries:
        found += [(now, start, "")] if start > now else []
        found.append((start, stop, text))
        now = stop
    return [*found, (now, SECONDS, "")]


def speaker_tiers() -> str:
    return text_grid(**{
        who: filled([(start, stop, text) for start, stop, text, name in ENTRIES if name == who])
        for who in ("anna", "ben")
    })  # fmt: skip


def words() -> list[tuple[float, float, str]]:
    return [
        (start + (stop - start) / 2 * place, start + (stop - start) / 2 * (place + 1), word)
        for start, stop, text, _ in ENTRIES
        for place, word in enumerate(text.split())
    ]


def ctm(name: str = "talk") -> str:
    return ";; a comment\n" + "".join(f"{name} 1 {a:.3f} {b - a:.3f} {word} 0.98\n" for a, b, word in words())


def stm() -> str:
    return (
        "".join(f"talk A {who} {a} {b} <o,f0,female> {text}\n" for a, b, text, who in ENTRIES)
        + "talk A anna 9.1 9.5 <o,f0,female> ignore_time_segment_in_scoring\n"
    )


def rttm(names=("anna", "ben", "anna")) -> str:
    return "".join(
        f"SPEAKER talk 1 {a} {b - a} <NA> <NA> {who} <NA> <NA>\n"
        for (a, b, _, _), who in zip(ENTRIES, names, strict=True)
    )


FORMS = {
    "srt": ("talk.srt", srt),
    "vtt": ("talk.en.vtt", vtt),
    "text_grid": ("talk.TextGrid", lambda: text_grid(sentences=filled([entry[:3] for entry in ENTRIES]))),
    "text_grid_speakers": ("talk.TextGrid", speaker_tiers),
    "stm": ("all.stm", stm),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_entry_becomes_an_utterance_with_its_audio(tmp_path, form):
    samples = recording(tmp_path / "source")
    name, text = FORMS[form]
    (tmp_path / "source" / name).write_text(text(), encoding="utf-8")
    prepare_dataset(tmp_path / "source", tmp_path / "dataset")
    found = sorted(SpeechDataset.open(tmp_path / "dataset"), key=lambda entry: int(entry.id[5:-2]))
    assert [entry.id for entry in found] == ["talk@1000ms", "talk@2750ms", "talk@7500ms"]
    for entry, (start, stop, said, who) in zip(found, ENTRIES, strict=True):
        assert entry.transcript == said
        assert (np.asarray(entry.samples) == samples[round(start * 16_000) : round(stop * 16_000)]).all()
        if form not in ("srt", "text_grid"):
            assert entry.speaker == who


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("talk.ctm", ctm()),
        ("corpus.ctm", ctm()),
        ("talk.TextGrid", text_grid(words=filled(words()), phones=filled(words()))),
        ("talk.TextGrid", text_grid(**{"talk - words": filled(words()), "talk - phones": filled(words())})),
        ("talk.TextGrid", text_grid(MAU=filled(words()), ORT=filled(words()))),
    ],
)
def test_words_are_joined_until_a_pause_and_get_some_of_it(tmp_path, name, text):
    recording(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    items = read_source(tmp_path).items
    assert [item.transcript for item in items] == ["good morning hello there", "to bed"]
    assert [(item.offset_s, round(item.offset_s + item.duration_s, 3)) for item in items] == [(0.8, 4.2), (7.3, 9.0)]


def test_subtitles_are_joined_where_recordings_are_cut_anyway(tmp_path):
    recording(tmp_path)
    (tmp_path / "talk.srt").write_text(srt(), encoding="utf-8")
    joined = read_source(tmp_path, pieces=PieceSettings(pause_s=1.0)).items
    assert [item.transcript for item in joined] == ["good morning hello there", "to bed"]
    short = read_source(tmp_path, pieces=PieceSettings(max_s=2.9)).items
    assert [item.transcript for item in short] == ["good morning", "hello there", "to bed"]
    assert [item.duration_s for item in short] == [1.5, 1.25, 1.5]


def test_a_transcript_without_times_wins_unless_recordings_are_cut(tmp_path):
    recording(tmp_path)
    (tmp_path / "talk.srt").write_text(srt(), encoding="utf-8")
    (tmp_path / "talk.txt").write_text("good morning hello there to bed", encoding="utf-8")
    whole = read_source(tmp_path)
    assert [item.transcript for item in whole.items] == ["good morning hello there to bed"]
    assert whole.notes.passed[Passed.TIMED_TEXTS] == {".srt": 1}
    assert len(read_source(tmp_path, pieces=PieceSettings()).items) == 2


def test_turns_without_texts_cut_only_where_recordings_are_cut(tmp_path):
    recording(tmp_path)
    (tmp_path / "turns.rttm").write_text(rttm(), encoding="utf-8")
    whole = read_source(tmp_path)
    assert [item.offset_s for item in whole.items] == [None]
    assert whole.notes.passed[Passed.TIMED_TEXTS] == {".rttm": 1}
    turns = read_source(tmp_path, pieces=PieceSettings()).items
    assert [(item.offset_s, item.speaker, item.transcript) for item in turns] == [
        (1.0, "anna", None),
        (2.75, "ben", None),
        (7.5, "anna", None),
    ]


def test_a_turn_longer_than_a_piece_is_cut_at_its_pauses(tmp_path):
    samples = np.random.default_rng(1).integers(-40, 40, 60 * 16_000).astype(np.int16)
    noise = np.random.default_rng(2).integers(-9000, 9000, 60 * 16_000).astype(np.int16)
    for start in range(2, 58, 8):
        samples[start * 16_000 : (start + 6) * 16_000] = noise[start * 16_000 : (start + 6) * 16_000]
    source = tmp_path / "source"
    source.mkdir()
    soundfile.write(source / "talk.wav", samples, 16_000)
    (source / "talk.rttm").write_text("SPEAKER talk 1 10.0 40.0 <NA> <NA> anna <NA> <NA>\n", encoding="utf-8")
    settings = SegmentSettings("energy", PieceSettings(max_s=10))
    prepare_dataset(source, tmp_path / "dataset", segment=settings)
    dataset = SpeechDataset.open(tmp_path / "dataset")
    starts = sorted(int(entry.id.rpartition("@")[2][:-2]) for entry in dataset)
    assert len(starts) == 5
    assert all(abs(found - wanted * 1000) < 400 for found, wanted in zip(starts, (10, 18, 26, 34, 42), strict=True))
    assert {entry.speaker for entry in dataset} == {"anna"}


def test_numbered_speakers_are_those_of_one_recording(tmp_path):
    recording(tmp_path)
    (tmp_path / "turns.rttm").write_text(rttm(("SPEAKER_00", "SPEAKER_01", "SPEAKER_00")), encoding="utf-8")
    items = read_source(tmp_path, pieces=PieceSettings()).items
    assert [item.speaker for item in items] == ["talk/SPEAKER_00", "talk/SPEAKER_01", "talk/SPEAKER_00"]


def test_libri_light_gives_speaker_and_times_from_its_json(tmp_path):
    folder = tmp_path / "100" / "book"
    recording(folder, "talk.flac")
    told = {"speaker": "100", "book_meta": {}, "snr": 9.1, "voice_activity": [[1.0, 2.5], [2.75, 4.0], [7.5, 9.0]]}
    (folder / "talk.json").write_text(json.dumps(told), encoding="utf-8")
    (whole,) = read_source(tmp_path).items
    assert (whole.speaker, whole.offset_s) == ("100", None)
    pieces = read_source(tmp_path, pieces=PieceSettings()).items
    assert [(item.speaker, item.offset_s, item.duration_s) for item in pieces] == [("100", 1.0, 3.0), ("100", 7.5, 1.5)]


def test_a_file_alone_is_cut_by_the_subtitles_beside_it(tmp_path):
    recording(tmp_path)
    recording(tmp_path, "other.wav")
    (tmp_path / "talk.srt").write_text(srt(), encoding="utf-8")
    assert len(read_source(tmp_path / "talk.wav").items) == 3
    assert len(read_source(tmp_path / "other.wav").items) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("talk.srt", b"\xff\xfe\x00\x01"),
        ("talk.TextGrid", b'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0'),
        ("talk.TextGrid", b"nothing of the kind"),
    ],
)
def test_a_broken_file_rejects_its_recording_by_name(tmp_path, name, content):
    recording(tmp_path)
    recording(tmp_path, "other.wav")
    (tmp_path / name).write_bytes(content)
    found = {item.id: item for item in read_source(tmp_path).items}
    assert found["talk"].problem is not None
    assert found["talk"].problem.startswith(f"bad_transcript: {name}")
    assert found["other"].problem is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("talk.srt", "no subtitles at all"),
        ("talk.vtt", "WEBVTT\n"),
        ("talk.TextGrid", text_grid(phones=filled(words()))),
    ],
)
def test_a_file_without_words_is_counted_and_leaves_its_recording_whole(tmp_path, name, content):
    recording(tmp_path)
    (tmp_path / name).write_text(content, encoding="utf-8")
    listing = read_source(tmp_path)
    assert [(item.id, item.offset_s, item.problem) for item in listing.items] == [("talk", None, None)]
    assert listing.notes.passed[Passed.TIMED_TEXTS] == {Path(name).suffix.lower(): 1}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.ctm", "talk 1 one 0.5 word"),
        ("a.ctm", "talk 1 0.5"),
        ("a.ctm", "talk 1 nan 1 word"),
        ("a.stm", "talk A anna 5 2 <o> words"),
        ("a.rttm", "SPEAKER talk 1 -3 2 <NA> <NA> anna"),
    ],
)
def test_a_malformed_line_of_a_list_is_named(tmp_path, name, line):
    recording(tmp_path)
    (tmp_path / name).write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=rf"{name}:1: a line of a \.{name[2:]} file must be"):
        read_source(tmp_path)


def test_recordings_that_a_list_names_and_that_are_not_there_are_counted(tmp_path):
    recording(tmp_path)
    (tmp_path / "all.ctm").write_text(ctm() + ctm("missing"), encoding="utf-8")
    listing = read_source(tmp_path)
    assert listing.notes.passed[Passed.WITHOUT_AUDIO] == {".ctm": 1}
    assert listing.notes.examples[Passed.WITHOUT_AUDIO] == ["missing"]


def test_subtitles_without_audio_are_counted(tmp_path):
    recording(tmp_path)
    (tmp_path / "lost.srt").write_text(srt(), encoding="utf-8")
    assert read_source(tmp_path).notes.passed[Passed.WITHOUT_AUDIO] == {".srt": 1}
