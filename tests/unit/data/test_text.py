from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v2_ray.data.text import Tokenizer, build_vocabulary
from w2v2_ray.errors import DatasetError, SpecError
from w2v2_ray.spec.symbols import SPECIALS, visible
from w2v2_ray.spec.text import TextSpec

LETTERS = (*SPECIALS, "|", *"ETAOINHSR'")


def test_a_transcript_is_spelt_word_by_word_with_a_boundary_after_each():
    tokenizer = Tokenizer(LETTERS, TextSpec())
    outputs = tokenizer.encode("THE ART")
    assert [LETTERS[output] for output in outputs] == ["T", "H", "E", "|", "A", "R", "T", "|"]
    assert tokenizer.decode(outputs.tolist()) == "THE ART"


@given(st.lists(st.text("ETAOINHSR'", min_size=1), max_size=5))
def test_what_is_spelt_reads_back(words):
    tokenizer = Tokenizer(LETTERS, TextSpec())
    text = " ".join(words)
    assert tokenizer.decode(tokenizer.encode(text).tolist()) == text


def test_case_unicode_replacements_and_spaces_are_normalised():
    text = TextSpec(replace={"\u2019": "'"})
    assert Tokenizer(LETTERS, text).normalise("  it\u2019s \uff41\tHEN ") == "IT'S A HEN"


@pytest.mark.parametrize(("unknown", "written"), [("reject", None), ("drop", "TE"), ("map", "T<unk>E")])
def test_characters_outside_the_vocabulary_are_rejected_dropped_or_mapped(unknown, written):
    assert Tokenizer(LETTERS, TextSpec(unknown=unknown)).normalise("t5e") == written


def test_a_mapped_character_is_one_symbol():
    tokenizer = Tokenizer(LETTERS, TextSpec(unknown="map"))
    outputs = tokenizer.encode("T<unk>E")
    assert [LETTERS[output] for output in outputs] == ["T", "<unk>", "E", "|"]
    assert tokenizer.decode(outputs.tolist()) == "T<unk>E"


def test_allowed_characters_narrow_the_vocabulary():
    assert Tokenizer(LETTERS, TextSpec(allowed="TE", unknown="drop")).normalise("teat") == "TET"


def test_blanks_and_other_specials_are_not_read():
    assert Tokenizer(LETTERS, TextSpec()).decode([0, 5, 1, 2, 4, 4, 7]) == "E A"


def test_a_vocabulary_is_the_characters_by_falling_count():
    vocabulary = build_vocabulary(["aab", None, "b a c", ""], TextSpec())
    assert vocabulary == (*SPECIALS, "|", "A", "B", "C")


def test_a_vocabulary_holds_allowed_characters_only():
    assert build_vocabulary(["a-b|"], TextSpec(allowed="AB")) == (*SPECIALS, "|", "A", "B")


def test_no_transcripts_give_no_vocabulary():
    with pytest.raises(DatasetError, match="no transcript"):
        build_vocabulary([None, " "], TextSpec())


def test_thousands_of_characters_are_not_a_vocabulary():
    text = "".join(chr(0x4E00 + number) for number in range(10_001))
    with pytest.raises(DatasetError, match="10001 different characters, the limit is 10000"):
        build_vocabulary([text], TextSpec())


@pytest.mark.parametrize(
    ("vocabulary", "text", "message"),
    [
        (("A", "|"), TextSpec(), "output 0 is 'A'"),
        ((), TextSpec(), "output 0 is 'nothing'"),
        (("<s>", "A"), TextSpec(), "no '|'"),
        (("<s>", "|", "A"), TextSpec(unknown="map"), "needs '<unk>'"),
        (("<s>", "|", "a", "b"), TextSpec(case="upper"), "every letter of the vocabulary is lower case .ab.; use case"),
        (("<s>", "|", "A"), TextSpec(case="lower"), "every letter of the vocabulary is upper case"),
    ],
)
def test_a_vocabulary_that_cannot_spell_is_refused(vocabulary, text, message):
    with pytest.raises(SpecError, match=message.replace("|", "\\|")):
        Tokenizer(vocabulary, text)


def test_a_script_without_case_suits_any_case():
    assert Tokenizer(("<s>", "|", "あ"), TextSpec(case="upper")).normalise("あ") == "あ"


@pytest.mark.parametrize("hidden", ["\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060", "\u202a", "\ufff9", "\x07"])
def test_characters_that_only_steer_how_text_is_shown_are_no_text(hidden):
    transcript = f"{hidden}THE{hidden} AR{hidden}T{hidden}"
    assert Tokenizer(LETTERS, TextSpec()).normalise(transcript) == "THE ART"
    assert build_vocabulary([transcript], TextSpec()) == build_vocabulary(["THE ART"], TextSpec())
    with pytest.raises(DatasetError, match="no transcript"):
        build_vocabulary([hidden], TextSpec())


def test_spaces_of_other_kinds_are_spaces():
    assert Tokenizer(LETTERS, TextSpec()).normalise("THE\u00a0ART\u3000IS\u2003HOT\tTO") == "THE ART IS HOT TO"


def test_what_one_would_not_see_is_shown_by_its_number():
    assert visible("A") == "A"
    assert visible("\u0307") == "<U+0307 COMBINING DOT ABOVE>"
    assert visible("\ue000x") == "<U+E000>x"


def test_dotted_and_dotless_i_are_told_apart_by_replacing_them_first():
    text = TextSpec(case="lower", replace={"\u0130": "i", "I": "\u0131"})
    assert build_vocabulary(["\u0130I"], text)[5:] == ("i", "\u0131")


PHONES = (*SPECIALS, "SH", "IY", "HH", "AH")
TOKENS = TextSpec(units="tokens")


def test_tokens_are_symbols_as_they_stand():
    tokenizer = Tokenizer(PHONES, TOKENS)
    assert tokenizer.normalise(" sh  iy ") == "SH IY"
    outputs = tokenizer.encode("SH IY HH")
    assert [PHONES[output] for output in outputs] == ["SH", "IY", "HH"]
    assert tokenizer.decode([0, *outputs.tolist(), 1]) == "SH IY HH"


@pytest.mark.parametrize(("unknown", "written"), [("reject", None), ("drop", "SH IY"), ("map", "SH <unk> IY")])
def test_unknown_tokens_are_rejected_dropped_or_mapped(unknown, written):
    tokenizer = Tokenizer(PHONES, TextSpec(units="tokens", unknown=unknown))
    assert tokenizer.normalise("sh zz iy") == written
    if written is not None:
        assert tokenizer.decode(tokenizer.encode(written).tolist()) == written


def test_a_vocabulary_of_tokens_has_no_word_boundary():
    assert build_vocabulary(["sh iy sh", None, "hh"], TOKENS) == (*SPECIALS, "SH", "HH", "IY")


@pytest.mark.parametrize("vocabulary", [LETTERS, (*SPECIALS, "A", "B"), (*SPECIALS, "|", "SH")])
def test_tokens_need_symbols_that_stand_alone(vocabulary):
    with pytest.raises(SpecError, match="units: letters, or symbols such as phones"):
        Tokenizer(vocabulary, TOKENS)


def test_letters_need_a_word_boundary():
    with pytest.raises(SpecError, match="words could not be told apart"):
        Tokenizer(PHONES, TextSpec())


def test_what_came_later_leaves_the_identity_of_earlier_runs():
    assert "units" not in TextSpec().identity()
    assert '"units":"tokens"' in TOKENS.identity()
