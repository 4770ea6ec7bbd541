"""Holding a part out: by speaker where there are several, the same whoever asks."""

from __future__ import annotations

import random

import pytest

from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.ingestion.hold_out import divide
from w2v2_ray.errors import DatasetError


def corpus(speakers, each, *, named=True):
    return [
        SourceItem(f"{s}/{n}", f"/x/{s}/{n}.wav", f"{s}/{n}.wav", speaker=f"s{s}" if named else None)
        for s in range(speakers)
        for n in range(each)
    ]


def test_no_speaker_is_in_both_parts_and_nobody_is_lost():
    items = corpus(40, 25)
    division = divide(items, 0.05)
    assert division.unit == "speakers"
    assert not {item.speaker for item in division.kept} & {item.speaker for item in division.held_out}
    assert len(division.held_out) == 50
    assert sorted(division.kept + division.held_out, key=items.index) == items
    assert str(division) == "2 of 40 speakers, 50 of 1,000 utterances (5.0%)"


def test_speakers_of_different_sizes_come_near_the_share():
    items = [item for item in corpus(60, 40) if int(item.id.split("/")[1]) <= int(item.speaker[1:])]
    assert 0.07 < len(divide(items, 0.1).held_out) / len(items) < 0.15


def test_the_choice_depends_on_names_and_seed_only():
    items = corpus(40, 10)
    held_out = {item.id for item in divide(items, 0.1).held_out}
    shuffled = random.Random(1).sample(items, len(items))
    assert {item.id for item in divide(shuffled, 0.1).held_out} == held_out
    assert {item.id for item in divide(items, 0.1, seed=1).held_out} != held_out


def test_without_speakers_recordings_are_held_out_whole():
    segments = [SourceItem(f"{r}@{n}", f"/x/{r}.wav", f"{r}.wav", offset_s=n) for r in range(20) for n in range(5)]
    division = divide(segments, 0.1)
    assert division.unit == "recordings"
    assert not {item.source for item in division.kept} & {item.source for item in division.held_out}
    assert len(division.held_out) == 10


@pytest.mark.parametrize(
    ("items", "unit"), [(corpus(1, 100), "recordings"), (corpus(50, 2, named=False), "recordings")]
)
def test_one_speaker_or_none_is_divided_by_recording(items, unit):
    division = divide(items, 0.1)
    assert (division.unit, len(division.held_out)) == (unit, 10)


def test_parts_of_one_recording_are_divided_by_themselves():
    segments = [SourceItem(f"a@{n}", "/x/a.wav", "a.wav", speaker="ann") for n in range(20)]
    division = divide(segments, 0.1)
    assert (division.unit, len(division.held_out)) == ("utterances", 2)


def test_few_speakers_give_the_smallest_one():
    items = corpus(2, 10)[:14]
    division = divide(items, 0.05)
    assert {item.speaker for item in division.held_out} == {"s1"}
    by_recording = divide(items, 0.1, by_speaker=False)
    assert len(by_recording.held_out) == 2


def test_utterances_without_a_speaker_beside_others_go_by_recording():
    items = corpus(2, 10) + corpus(1, 100, named=False)
    division = divide(items, 0.1)
    assert 10 <= len(division.held_out) <= 15
    assert len({item.id for item in division.kept + division.held_out}) == 110


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(DatasetError, match="a share between 0 and 1 is wanted"):
        divide(corpus(2, 2), share)


def test_one_utterance_cannot_be_divided():
    with pytest.raises(DatasetError, match="there is 1 utterance, which cannot be in two parts"):
        divide(corpus(1, 1), 0.5)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_both_parts_always_hold_something(share):
    division = divide(corpus(3, 1), share)
    assert division.kept
    assert division.held_out
