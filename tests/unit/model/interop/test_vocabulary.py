from __future__ import annotations

from pathlib import Path

import pytest
from interop_models import VOCABULARY

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop import vocabulary
from w2v2_ray.model.interop.plain_values import read_literal, resolve


def test_a_dictionary_is_read_as_fairseq_reads_it() -> None:
    text = "| 94802\nE 51860\n' 12\nmadeupword0000 0\na b 3\n"
    found = vocabulary.from_dictionary_text(text, "dict")
    assert found == ("<s>", "<pad>", "</s>", "<unk>", "|", "E", "'", "madeupword0000", "a b")
    assert vocabulary.from_dictionary_text(vocabulary.to_dictionary_text(VOCABULARY), "dict") == VOCABULARY


@pytest.mark.parametrize(
    ("text", "message"), [("| 1\nE\n", "dict:2: 'E' is not"), ("| 1\n| 2\n", "dict:2: '|' comes twice")]
)
def test_a_broken_dictionary_is_reported_by_line(text: str, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        vocabulary.from_dictionary_text(text, "dict")
    assert message in caught.value.message


def test_names_of_the_blank_are_exchanged_and_back() -> None:
    theirs = vocabulary.to_huggingface(VOCABULARY)
    assert theirs[:4] == ("<pad>", "<s>", "</s>", "<unk>")
    assert vocabulary.from_huggingface(theirs, 0, "|") == VOCABULARY
    assert vocabulary.from_huggingface(("a", "b", " ", "[PAD]"), 3, " ") == ("[PAD]", "a", "b", "|")


def test_a_users_vocabulary_may_be_json_or_a_dictionary(tmp_path: Path) -> None:
    for name, text in (("v.json", '["-", "A"]'), ("w.json", '{"A": 1, "-": 0}')):
        (tmp_path / name).write_text(text)
        assert vocabulary.read_vocabulary(tmp_path / name) == ("-", "A")
    (tmp_path / "dict.ltr.txt").write_text("A 1\n")
    assert vocabulary.read_vocabulary(tmp_path / "dict.ltr.txt")[4:] == ("A",)
    for name, text in (("x.json", '{"A": 1, "B": 3}'), ("y.json", "3"), ("z.json", '{"eng": {"A": 0}}')):
        (tmp_path / name).write_text(text)
        with pytest.raises(CheckpointError):
            vocabulary.read_vocabulary(tmp_path / name)


def test_literals_are_read_and_not_evaluated() -> None:
    assert read_literal("[(512,10,5)] + [(512,3,2)] * 2 + 1*[(1,2,2)]") == [
        (512, 10, 5),
        (512, 3, 2),
        (512, 3, 2),
        (1, 2, 2),
    ]
    assert read_literal("(2, 0.5, 0.999995)") == (2, 0.5, 0.999995)
    for text in ("__import__('os')", "[1]*10**9", "[1]*99999", "[" * 10_000, "open('x')", "x", "1 +"):
        with pytest.raises(ValueError, match="not a list of numbers"):
            read_literal(text)


def test_interpolations_are_followed_and_circles_end() -> None:
    options = {"a": "${b.c}", "b": {"c": 3, "d": "${missing.x}", "e": "???"}, "loop": "${loop}"}
    assert resolve(options) == {"a": 3, "b": {"c": 3, "d": None}, "loop": None}
