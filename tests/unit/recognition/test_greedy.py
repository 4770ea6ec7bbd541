from __future__ import annotations

import numpy as np
import pytest

from w2v2_ray.recognition.greedy import GreedyDecoder

VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "|", "A", "B")


def heard(outputs, probability=0.9):
    rest = (1 - probability) / (len(VOCABULARY) - 1)
    log_probs = np.full((len(outputs), len(VOCABULARY)), np.log(rest), dtype=np.float32)
    for frame, output in enumerate(outputs):
        log_probs[frame, VOCABULARY.index(output)] = np.log(probability)
    return log_probs


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        (["A", "A", "<s>", "A", "|", "B"], "AA B"),
        (["|", "|", "A", "|", "<s>", "|", "B", "|"], "A B"),
        (["<s>", "<s>"], ""),
        (["|"], ""),
        ([], ""),
        (["A", "<pad>", "B", "</s>"], "AB"),
        (["A", "<unk>", "B"], "A<unk>B"),
    ],
)
def test_repeats_merge_blanks_vanish_and_boundaries_part_words(outputs, text):
    assert GreedyDecoder(VOCABULARY).decode(heard(outputs)).text == text


def test_characters_carry_their_frames_and_mean_probability():
    log_probs = heard(["<s>", "A", "A", "<s>", "B", "|"])
    log_probs[2, VOCABULARY.index("A")] = np.log(0.5)
    (word,) = GreedyDecoder(VOCABULARY).decode(log_probs).words
    assert [(c.symbol, c.start_frame, c.end_frame) for c in word.characters] == [("A", 1, 3), ("B", 4, 5)]
    assert word.characters[0].confidence == pytest.approx(0.7)
    assert (word.start_frame, word.end_frame) == (1, 5)
    assert word.confidence == pytest.approx(0.7)
