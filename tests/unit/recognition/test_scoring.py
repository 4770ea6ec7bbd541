from __future__ import annotations

import pytest

from w2v2_ray.recognition.scoring import Scored, score

SAID = [
    Scored("a", "anna", "THE CAT SAT", "THE CAT SAT"),
    Scored("b", "anna", "THE CAT SAT", "THE BAT SAT DOWN"),
    Scored("c", "bert", "ON THE MAT", "ON MAT"),
    Scored("d", None, "YES", ""),
]


def test_words_are_counted_by_kind_of_error():
    words = score(SAID).words
    assert (words.hits, words.substitutions, words.insertions, words.deletions) == (7, 1, 1, 2)
    assert words.reference == 10
    assert words.rate == pytest.approx(0.4)


def test_characters_are_counted_with_their_spaces():
    characters = score(SAID[:2]).characters
    assert characters.reference == 22
    assert (characters.substitutions, characters.insertions, characters.deletions) == (1, 5, 0)


def test_each_speaker_is_counted_the_worst_first():
    speakers = score(SAID).by_speaker
    assert list(speakers) == ["unknown", "anna", "bert"]
    assert [errors.total for errors in speakers.values()] == [1, 2, 1]
    assert speakers["bert"].reference == 3


def test_the_worst_utterances_come_first_and_right_ones_are_not_among_them():
    scores = score(SAID)
    assert [scored.id for scored, _ in scores.worst] == ["b", "d", "c"]
    assert len(scores.utterances) == 4


def test_confusions_name_what_was_said_and_what_was_understood():
    scores = score([*SAID, Scored("e", None, "A CAT", "A BAT")])
    assert scores.confused_words[0] == ("CAT", "BAT", 2)
    assert ("THE", "∅", 1) in scores.confused_words
    assert ("∅", "DOWN", 1) in scores.confused_words
    assert ("C", "B", 2) in scores.confused_characters


def test_more_words_than_were_said_make_a_rate_above_one():
    assert score([Scored("a", None, "A", "B C D")]).words.rate == 3.0


def test_the_order_of_utterances_changes_nothing():
    assert score(SAID) == score(SAID[::-1])
