"""Sentences as the recogniser writes them."""

from __future__ import annotations

from w2v2_ray.data.text import Tokenizer
from w2v2_ray.recognition.sentences import Sentences
from w2v2_ray.spec.text import TextSpec


def test_what_the_recognisers_rules_reject_is_counted_and_left_out(tmp_path):
    (tmp_path / "a.txt").write_text("abe, bad\n\n  Abe   cad \n", encoding="utf-8")
    (tmp_path / "B.TXT").write_text("\ufeffdead\nxyz", encoding="utf-8")
    tokenizer = Tokenizer(("<s>", "<pad>", "</s>", "<unk>", "|", *"ABCDE"), TextSpec())
    sentences = Sentences(tokenizer, (str(tmp_path / "a.txt"), str(tmp_path / "B.TXT")))
    assert list(sentences) == [["ABE", "CAD"], ["DEAD"]]
    assert sentences.left_out == 2
