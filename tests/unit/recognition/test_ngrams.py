"""ARPA files against Witten-Bell's formula computed by counting, and as KenLM reads them."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nltk")

from w2v2_ray.errors import DatasetError, SpecError
from w2v2_ray.recognition.beam_search import BeamSearchDecoder
from w2v2_ray.recognition.ngrams import END, START, write_ngrams

SENTENCES = [text.split() for text in ("A B A", "A A B", "C", "B A B B", "A B C")]
VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "|", *"ABC")


def read_arpa(path: Path) -> dict[tuple[str, ...], tuple[float, float]]:
    """log10 of the probability and of the back-off weight of every n-gram."""
    found, length = {}, 0
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("\\"):
            length = int(line[1]) if line[1].isdigit() else 0
        elif length and line:
            columns = line.split()
            weight = float(columns[length + 1]) if len(columns) > length + 1 else 0.0
            found[tuple(columns[1 : length + 1])] = (float(columns[0]), weight)
    return found


def probability(arpa, history, word):
    """What a reader of ARPA makes of it: the longest n-gram that is there, with the weights of those that are not."""
    gram = (*history, word)
    if gram in arpa:
        return 10 ** arpa[gram][0]
    return 10 ** arpa.get(history, (0.0, 0.0))[1] * probability(arpa, history[1:], word)


def witten_bell(sentences, history, word):
    """Equation of Chen and Goodman 1998, section 2.5, by counting."""
    texts = [(START, *sentence, END) for sentence in sentences]
    followers = Counter(
        text[end]
        for text in texts
        for end in range(1, len(text))
        if end >= len(history) and text[end - len(history) : end] == history
    )
    total, types = sum(followers.values()), len(followers)
    if not history:
        return followers[word] / total
    shorter = witten_bell(sentences, history[1:], word)
    return (followers[word] + types * shorter) / (total + types) if total else shorter


@pytest.mark.parametrize("order", [2, 3, 4])
def test_probabilities_are_those_of_the_formula_and_add_up_to_one(tmp_path, order):
    summary = write_ngrams(SENTENCES, tmp_path / "lm.arpa", order)
    arpa = read_arpa(tmp_path / "lm.arpa")
    assert (summary.sentences, summary.words, len(summary.ngrams)) == (5, 3, order)
    assert summary.ngrams == tuple(sum(len(gram) == n for gram in arpa) for n in range(1, order + 1))
    words = ("A", "B", "C", END)
    histories = {(), (START,), ("A",), ("C",), ("A", "B"), ("B", "B"), ("C", "C"), (START, "B"), ("C", "A", "B")}
    for history in {history[-(order - 1) :] for history in histories}:
        given = [probability(arpa, history, word) for word in words]
        assert given == pytest.approx([witten_bell(SENTENCES, history, word) for word in words], rel=1e-5)
        assert sum(given) == pytest.approx(1.0, rel=1e-5)


def test_kenlm_reads_it_and_prefers_what_the_texts_say(tmp_path):
    write_ngrams([["AB", "C"], ["AB", "C"], ["BA"]], tmp_path / "lm.arpa", 3)
    decoder = BeamSearchDecoder(VOCABULARY, tmp_path / "lm.arpa", lm_weight=2.0, word_score=0.0)
    assert decoder.num_words == 3
    index = {symbol: number for number, symbol in enumerate(VOCABULARY)}
    spelt = np.full((6, len(VOCABULARY)), -20.0)
    for frame, symbols in enumerate(("A", "B", "|", "BC", "|", "|")):
        spelt[frame, [index[symbol] for symbol in symbols]] = math.log(1 / len(symbols))
    assert decoder.decode(spelt.astype(np.float32)).text == "AB C"  # by sound, B would do as well, but is no word


def test_what_cannot_be_made_is_said_and_an_older_file_stays(tmp_path):
    out = tmp_path / "lm.arpa"
    out.write_text("older")
    with pytest.raises(DatasetError, match="no sentence"):
        write_ngrams([[], []], out)
    with pytest.raises(SpecError, match="--order 9: from 2 to 6"):
        write_ngrams(SENTENCES, out, 9)
    assert [path.name for path in tmp_path.iterdir()] == ["lm.arpa"]
    assert out.read_text() == "older"
