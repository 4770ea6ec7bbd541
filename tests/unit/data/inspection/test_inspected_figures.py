"""The parts of `inspect`'s figures that stay small whatever the dataset: tallies, histograms, copies, scripts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v2_ray.data.inspection.copies import Copies
from w2v2_ray.data.inspection.histogram import histogram_of
from w2v2_ray.data.inspection.provenance import read_record, read_rejects
from w2v2_ray.data.inspection.scripts import script_of, scripts_of
from w2v2_ray.data.inspection.speakers import SpeakerTally
from w2v2_ray.data.inspection.tally import Tally
from w2v2_ray.data.schema import INGEST_NAME, REJECTS_NAME
from w2v2_ray.places.storage import locate


def test_a_tally_is_exact_until_there_are_too_many_names():
    tally = Tally(most=4)
    tally.add(["a", "b", "b", "c", "c", "c", "d"])
    assert tally.most_frequent(3) == {"c": 3, "b": 2, "a": 1}
    assert tally.different == 4
    tally.add(["e"])
    assert tally.different is None
    assert tally.most_frequent(5) == {"c": 3, "b": 2}


def test_speakers_are_ordered_by_their_audio():
    tally = SpeakerTally()
    for speaker, num_samples in (("often", 16_000), ("often", 16_000), ("long", 48_000), (None, 16_000)):
        tally.add(speaker, num_samples)
    report = tally.report()
    assert [(one.speaker, one.utterances, one.hours * 3600) for one in report.most] == [
        ("long", 1, pytest.approx(3)),
        ("often", 2, pytest.approx(2)),
    ]
    assert (report.without, report.counted_all) == (1, True)
    few = SpeakerTally(most=2)
    for number in range(5):
        few.add(f"speaker {number}", 1)
    assert not few.report().counted_all


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_copies_are_those_of_a_dictionary(contents: list[int]):
    digests = [hashlib.sha256(bytes([content])).digest() for content in contents]
    found = Copies.among(np.array([list(digest) for digest in digests], np.uint8))
    first: dict[bytes, int] = {}
    expected = [
        (place, first[digest]) for place, digest in enumerate(digests) if first.setdefault(digest, place) != place
    ]
    assert list(zip(found.places.tolist(), found.firsts.tolist(), strict=True)) == expected
    assert found.fingerprint == hashlib.sha256(b"".join(sorted(digests))).hexdigest()[:32]


@pytest.mark.parametrize(
    "values", [[1.0], [2.0, 2.0], np.linspace(0, 1, 1000).tolist(), [-200.0, *np.linspace(-30, -20, 998).tolist(), 0.0]]
)
def test_a_histogram_counts_every_value_once(values: list[float]):
    found = histogram_of(np.array(values))
    assert sum(found.counts) + found.below + found.above == len(values)
    assert len(found.edges) == len(found.counts) + 1 <= 41


def test_a_value_far_out_does_not_squeeze_the_rest_into_one_bin():
    found = histogram_of(np.array([-200.0, *np.linspace(-30, -20, 998), 0.0]))
    assert found.edges[0] == pytest.approx(-30, abs=0.1)
    assert max(found.counts) < 50
    assert found.below >= 1


@pytest.mark.parametrize(
    ("symbol", "script"),
    [
        ("a", "LATIN"), ("ß", "LATIN"), ("ж", "CYRILLIC"), ("ع", "ARABIC"), ("漢", "CJK"), ("ｶ", "KATAKANA"),
        ("\uff21", "LATIN"), ("ा", "DEVANAGARI"), ("7", "digits"), (" ", "spaces"), ("\n", "spaces"),
        ("'", "other signs"), ("\x00", "other signs"), ("\ue000", "other signs"),
    ],
)  # fmt: skip
def test_scripts_are_the_first_words_of_names(symbol: str, script: str):
    assert script_of(symbol) == script


def test_scripts_are_counted_by_characters():
    assert scripts_of({"a": 3, "b": 2, "ж": 7}) == {"CYRILLIC": 7, "LATIN": 5}


def test_rejects_are_counted_whole_with_a_few_examples(tmp_path):
    good = '{"id": "%d", "path": "a.wav", "reason": "%s", "detail": "x"}\n'
    lines = [good % (number, "empty" if number else "silent") for number in range(9)]
    (tmp_path / REJECTS_NAME).write_text("".join([*lines, '{"other": 1}\n', "{\n"]))
    found = read_rejects(locate(tmp_path))
    assert [(group.reason, group.count, len(group.examples)) for group in found] == [("empty", 8, 5), ("silent", 1, 1)]
    assert found[0].examples[0].id == "1"


@pytest.mark.parametrize(
    ("text", "expected"), [('{"key": "k", "settings": {}}', {"settings": {}}), ("[1]", None), ("{", None)]
)
def test_the_record_of_an_ingest_is_read_where_there_is_one(tmp_path, text, expected):
    assert read_record(locate(tmp_path)) is None
    (tmp_path / INGEST_NAME).write_text(text)
    assert read_record(locate(tmp_path)) == expected
