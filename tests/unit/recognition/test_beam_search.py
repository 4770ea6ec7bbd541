from __future__ import annotations

import bz2
import gzip
import lzma
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from w2v2_ray.errors import MissingExtraError, SpecError, UserError
from w2v2_ray.recognition import beam_search
from w2v2_ray.recognition.beam_search import BeamSearchDecoder
from w2v2_ray.recognition.decoding import Decoding
from w2v2_ray.recognition.greedy import GreedyDecoder
from w2v2_ray.recognition.hypothesis import FloatArray

VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "|", "A", "B", "C", "D", "E", "N", "O", "R", "S", "T")
SENTENCES = ["READ A BOOK", "READ A NOTE", "RED ROSE", "A RED ROSE", "A RED STONE", "READ"]


def write_arpa(path: Path, sentences: list[str], discount: float = 0.5) -> Path:
    """A bigram model with absolute discounting, from counts of sentences."""
    unigrams: Counter[str] = Counter()
    bigrams: Counter[tuple[str, str]] = Counter()
    for sentence in sentences:
        words = ["<s>", *sentence.split(), "</s>"]
        unigrams.update(words[1:])
        bigrams.update(pairwise(words))
    total = sum(unigrams.values()) + 1
    unigram = {"<unk>": 1 / total, **{word: count / total for word, count in unigrams.items()}}
    after = {first: sum(n for (w, _), n in bigrams.items() if w == first) for first, _ in bigrams}
    seen = {first: [second for w, second in bigrams if w == first] for first in after}

    def backoff(first: str) -> float:
        if first not in after:
            return 1.0
        return (discount * len(seen[first]) / after[first]) / (1 - sum(unigram[second] for second in seen[first]))

    lines = ["", "\\data\\", f"ngram 1={len(unigram) + 1}", f"ngram 2={len(bigrams)}", "", "\\1-grams:"]
    lines += [f"-99\t<s>\t{math.log10(backoff('<s>')):.5f}"]
    lines += [f"{math.log10(p):.5f}\t{word}\t{math.log10(backoff(word)):.5f}" for word, p in unigram.items()]
    lines += ["", "\\2-grams:"]
    lines += [f"{math.log10((n - discount) / after[a]):.5f}\t{a} {b}" for (a, b), n in bigrams.items()]
    path.write_text("\n".join([*lines, "", "\\end\\", ""]))
    return path


def heard(*frames: str | dict[str, float]) -> FloatArray:
    """Log-probabilities in which each frame has a symbol, or several with a share each; `_` is the blank."""
    probabilities = np.full((len(frames), len(VOCABULARY)), 1e-4)
    for row, frame in zip(probabilities, frames, strict=True):
        for symbol, share in ({frame: 0.95} if isinstance(frame, str) else frame).items():
            row[VOCABULARY.index("<s>" if symbol == "_" else symbol)] = share
    return np.log(probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)


AMBIGUOUS = heard(
    "A", "_", "|", "R", "R", "E", {"A": 0.55, "_": 0.45}, "D", "|", "R", "_", "O", "S", {"T": 0.6, "E": 0.4}
)  # fmt: skip
"""Greedily "A READ ROST"; the language model knows a red rose."""


@pytest.fixture
def lm(tmp_path: Path) -> Path:
    pytest.importorskip("flashlight.lib.text.decoder", reason="needs the extra: pip install 'w2v2-ray[lm]'")
    return write_arpa(tmp_path / "tiny.arpa", SENTENCES)


def test_the_language_model_decides_an_ambiguous_utterance(lm: Path) -> None:
    assert GreedyDecoder(VOCABULARY).decode(AMBIGUOUS).text == "A READ ROST"
    assert BeamSearchDecoder(VOCABULARY, lm).decode(AMBIGUOUS).text == "A RED ROSE"


def test_without_weight_the_sound_decides_among_the_lexicons_words(lm: Path) -> None:
    decoder = BeamSearchDecoder(VOCABULARY, lm, lm_weight=0.0, word_score=0.0)
    assert decoder.decode(AMBIGUOUS).text == "A READ ROSE"


def test_words_and_characters_stand_where_they_were_heard(lm: Path) -> None:
    words = BeamSearchDecoder(VOCABULARY, lm).decode(AMBIGUOUS).words
    assert [(word.start_frame, word.end_frame) for word in words] == [(0, 1), (3, 8), (9, 14)]
    assert [(c.symbol, c.start_frame, c.end_frame) for c in words[1].characters] == [
        ("R", 3, 5),
        ("E", 5, 6),
        ("D", 7, 8),
    ]
    assert words[2].characters[-1].confidence == pytest.approx(0.4, abs=0.01)
    assert words[1].confidence > 0.9


def test_the_last_word_needs_no_boundary_after_it(lm: Path) -> None:
    decoder = BeamSearchDecoder(VOCABULARY, lm)
    assert decoder.decode(heard("R", "E", "D")).text == "RED"
    assert decoder.decode(heard("R", "E", "D", "|", "_")).text == "RED"


def test_an_utterance_of_nothing_has_no_words(lm: Path) -> None:
    decoder = BeamSearchDecoder(VOCABULARY, lm)
    assert decoder.decode(heard()).text == ""
    assert decoder.decode(heard("_", "_", "|")).text == ""


def test_a_lexicon_limits_the_words_and_says_how_they_are_written(lm: Path, tmp_path: Path) -> None:
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("A\nREAD R E D |\nROSE R O S E\n\n")
    words = BeamSearchDecoder(VOCABULARY, lm, lexicon).decode(AMBIGUOUS).words
    assert [word.text for word in words] == ["A", "READ", "ROSE"]
    assert [c.symbol for c in words[1].characters] == ["R", "E", "D"]


def test_words_of_the_arpa_text_that_cannot_be_spelt_are_left_out(lm: Path) -> None:
    assert BeamSearchDecoder(VOCABULARY, lm).num_words == len({"READ", "A", "NOTE", "RED", "ROSE", "STONE"})  # no K


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("RED\nrose\n", r"words.txt:2: 'rose' is spelt 'r o s e', which are not all symbols"),
        ("|\n", "words.txt:1: .* mind letter case"),
        ("\n", "no word in this lexicon"),
    ],
)
def test_a_bad_lexicon_is_refused_by_name(content: str, what: str, lm: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(content)
    with pytest.raises(UserError, match=what):
        BeamSearchDecoder(VOCABULARY, lm, tmp_path / "words.txt")


def test_a_language_model_in_the_other_letter_case_is_refused(lm: Path, tmp_path: Path) -> None:
    lower = write_arpa(tmp_path / "lower.arpa", [sentence.lower() for sentence in SENTENCES])
    with pytest.raises(UserError, match=r"spell none of its .* words .*same letter case"):
        BeamSearchDecoder(VOCABULARY, lower)


def test_what_is_no_language_model_is_refused(lm: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such language model"):
        BeamSearchDecoder(VOCABULARY, tmp_path / "none.arpa")
    (tmp_path / "x.bin").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(UserError, match="words cannot be listed; give them with --lexicon"):
        BeamSearchDecoder(VOCABULARY, tmp_path / "x.bin")
    (tmp_path / "words.txt").write_text("RED\n")
    with pytest.raises(UserError, match="not a language model that KenLM reads"):
        BeamSearchDecoder(VOCABULARY, tmp_path / "x.bin", tmp_path / "words.txt")
    (tmp_path / "cut.arpa").write_bytes(lm.read_bytes()[:-60])
    with pytest.raises(UserError, match="not a language model that KenLM reads"):
        BeamSearchDecoder(VOCABULARY, tmp_path / "cut.arpa")


def test_without_the_extra_the_install_command_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(beam_search, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'w2v2-ray\[lm\]'"):
        BeamSearchDecoder(VOCABULARY, write_arpa(tmp_path / "tiny.arpa", SENTENCES))


def test_decoding_is_greedy_unless_a_language_model_is_named(lm: Path) -> None:
    assert isinstance(Decoding().decoder(VOCABULARY), GreedyDecoder)
    assert isinstance(Decoding(lm=lm).decoder(VOCABULARY), BeamSearchDecoder)
    with pytest.raises(SpecError, match="--lm"):
        Decoding(lexicon=lm)


def spelling_of(lm: Path) -> str:
    return BeamSearchDecoder(VOCABULARY, lm).decode(AMBIGUOUS).text


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_a_compressed_arpa_is_read_as_it_is(tmp_path, compress):
    plain = write_arpa(tmp_path / "lm.arpa", SENTENCES)
    packed = tmp_path / "lm.arpa.packed"
    packed.write_bytes(compress(plain.read_bytes()))
    assert spelling_of(packed) == spelling_of(plain)


def test_a_byte_order_mark_before_an_arpa_is_no_text(tmp_path):
    plain = write_arpa(tmp_path / "lm.arpa", SENTENCES)
    marked = tmp_path / "marked.arpa"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert spelling_of(marked) == spelling_of(plain)


def test_words_that_can_never_be_said_are_counted(tmp_path):
    lm = write_arpa(tmp_path / "lm.arpa", ["READ A note", "red rose", "A Stone \u200btea"])
    (note,) = BeamSearchDecoder(VOCABULARY, lm).notes
    assert "2 of 7 words can be spelt" in note
    assert note.startswith("warning: ")
    assert "<U+200B ZERO WIDTH SPACE>tea" in note
    assert "letter case" in note


def test_a_language_model_that_is_spelt_whole_needs_no_note(tmp_path):
    sentences = [sentence for sentence in SENTENCES if "K" not in sentence]
    assert BeamSearchDecoder(VOCABULARY, write_arpa(tmp_path / "lm.arpa", sentences)).notes == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\t<s>", "\tSTART", "lacks <s>, the marks of a sentence's start"),
        ("ngram 2=", "ngram 9=", "single words only"),
    ],
)
def test_what_kenlm_would_say_of_an_arpa_is_said_in_plain_words(tmp_path, old, new, said):
    lm = write_arpa(tmp_path / "lm.arpa", SENTENCES)
    lm.write_text(lm.read_text().replace(old, new))
    with pytest.raises(UserError, match=said):
        BeamSearchDecoder(VOCABULARY, lm)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<html>", "an HTML page"),
        (b"", "empty"),
    ],
)
def test_a_file_that_is_no_language_model_at_all_is_called_what_it_is(tmp_path, content, said):
    lm = tmp_path / "lm.arpa"
    lm.write_bytes(content)
    with pytest.raises(UserError, match=said):
        BeamSearchDecoder(VOCABULARY, lm)
    lexicon = tmp_path / "words.txt"
    lexicon.write_bytes(content)
    with pytest.raises(UserError, match=said):
        BeamSearchDecoder(VOCABULARY, write_arpa(tmp_path / "good.arpa", SENTENCES), lexicon)


def test_a_lexicon_with_a_byte_order_mark_is_read(tmp_path):
    lexicon = tmp_path / "words.txt"
    lexicon.write_bytes(b"\xef\xbb\xbfREAD\nROSE\n")
    decoder = BeamSearchDecoder(VOCABULARY, write_arpa(tmp_path / "lm.arpa", SENTENCES), lexicon)
    assert decoder.num_words == 2
