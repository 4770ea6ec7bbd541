"""The judges of odd inputs find what is wrong: a harness that cannot fail shows nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

from odd import audio_judging, listing
from odd.answer import Answer, run_command, run_inside
from odd.kinds import KINDS, schedule
from odd.sound import Signal, compare, tone, words_heard
from odd.spec_files import same
from odd.verdict import Category, refused, trouble
from odd.worker import outcomes

SIGNAL = Signal(1.0)


def answer(code=0, out="", err="", escaped=""):
    return Answer(("prepare",), code, out, err, escaped)


def stored(tmp_path, samples, text=None):
    """Stores samples as they are."""
    folder = tmp_path / "audio"
    folder.mkdir()
    soundfile.write(folder / "x.wav", samples, 16_000)
    if text is not None:
        (folder / "x.txt").write_text(text)
    assert run_inside(["prepare", "audio", "--out", "out"], tmp_path).exit_code == 0
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("given", "category"),
    [
        (answer(2, err="error: x"), None),
        (answer(None), Category.HANG),
        (answer(1, err='Traceback (most recent call last):\n  File "x"\nKeyError: 1'), Category.TRACEBACK),
        (answer(1, escaped="ValueError: x"), Category.TRACEBACK),
        (answer(2), Category.TRACEBACK),
        (answer(139, err="error: x"), Category.TRACEBACK),
        (answer(0, err="/a/b.py:3: RuntimeWarning: overflow\n"), Category.TRACEBACK),
        (answer(2, err="error: x\n" * 100), Category.TRACEBACK),
    ],
)
def test_what_no_command_may_do_is_found_in_any_answer(given, category):
    found = trouble(given)
    assert (found.category if found else None) is category


def test_a_refusal_must_be_allowed_and_name_what_is_wrong():
    given = answer(2, err="error: a Git LFS pointer")
    assert refused(given, naming=["lfs"]).category is Category.REFUSED
    assert refused(given, naming=["html"]).category is Category.REFUSED_WRONGLY
    assert refused(given, may=False).category is Category.REFUSED_WRONGLY


@pytest.mark.parametrize(
    ("change", "category"),
    [
        (lambda wave: wave, Category.RIGHT),
        (lambda wave: wave[:8_000], Category.SILENT_LOSS),
        (lambda wave: np.concatenate([wave, wave[:3_000]]), Category.WRONG_SUCCESS),
        (lambda wave: wave[::-1], Category.WRONG_SUCCESS),
        (lambda wave: wave * 0.1, Category.WRONG_SUCCESS),
        (lambda wave: np.clip(wave * 50, -0.9, 0.9), Category.WRONG_SUCCESS),
        (lambda wave: np.roll(wave, 1_600), Category.WRONG_SUCCESS),
    ],
)
def test_stored_audio_that_is_not_what_was_meant_is_found(change, category, tmp_path):
    stored(tmp_path, change(SIGNAL.at(16_000)))
    verdict = audio_judging._prepared(answer(), audio_judging.Expected((SIGNAL,)), tmp_path / "out")
    assert verdict.category is category, verdict.why


def test_what_holds_nothing_may_be_kept_only_when_that_is_said(tmp_path):
    out = stored(tmp_path, SIGNAL.at(16_000))
    expected = audio_judging.Expected((), told_by=("silen",))
    assert audio_judging._prepared(answer(), expected, out).category is Category.WRONG_SUCCESS
    assert audio_judging._prepared(answer(out="1 silent file kept"), expected, out).category is Category.RIGHT


@pytest.mark.parametrize(
    ("words", "text", "category"),
    [
        (["ALPHA"], "alpha", Category.RIGHT),
        (["ALPHA"], "BRAVO", Category.WRONG_SUCCESS),
        (["ALPHA", "BRAVO"], "alpha", Category.WRONG_SUCCESS),
        (["ALPHA"], None, Category.SILENT_LOSS),
        (["ALPHA", "ALPHA"], "alpha", Category.SILENT_LOSS),
    ],
)
def test_audio_under_the_text_of_other_audio_is_found(words, text, category, tmp_path):
    out = stored(tmp_path, np.concatenate([tone(word, 0.5) for word in words]), text)
    known = listing.Listing((listing.Utterance(("ALPHA",), 0.5, "alpha", "x.wav"),))
    verdict = listing.judge(answer(), out, known)
    assert verdict.category is category, verdict.why


def test_utterances_that_are_neither_stored_nor_left_out_by_name_are_found(tmp_path):
    out = stored(tmp_path, tone("ALPHA", 0.5), "alpha")
    one = listing.Utterance(("ALPHA",), 0.5, "alpha", "x.wav")
    known = listing.Listing((one, listing.Utterance(("BRAVO",), 0.5, "bravo", "y.m4a")), told_by=("m4a",))
    assert listing.judge(answer(), out, known).category is Category.SILENT_LOSS
    assert listing.judge(answer(out="passed over 1 file: .m4a 1"), out, known).category is Category.RIGHT


def test_tones_are_told_apart_and_mixtures_are_not_taken_for_one():
    samples = np.concatenate([tone("LIMA", 0.4), tone("ALPHA", 0.4)])
    assert words_heard((samples * 32767).astype(np.int16)) == ("LIMA", "ALPHA")
    assert words_heard(((tone("LIMA", 0.4) + tone("ALPHA", 0.4)) * 32767 / 2).astype(np.int16)) == ()


def test_polarity_and_a_shift_are_seen_for_what_they_are():
    samples = (-SIGNAL.at(16_000) * 32767).astype(np.int16)
    found = compare(np.concatenate([np.zeros(500, np.int16), samples]), SIGNAL)
    assert found.alike == 1.0
    assert found.lag_s == pytest.approx(500 / 16_000)


def test_a_resolved_job_is_compared_value_by_value():
    assert same({"a": {"b": 1.0}, "preset": "tiny"}, {"a": {"b": 1, "c": 2}}) is None
    assert same({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b is 2, written was 1"
    assert same({"a": True}, {"a": 1}) is not None
    assert same({"data": {"train": "x"}}, {"data": {"train": [{"path": "x", "repeat": 1}]}}) is None


def test_kinds_take_turns_by_their_weights_and_each_counts_its_own():
    names = tuple(KINDS)
    total = sum(kind.weight for kind in KINDS.values())
    turns = [schedule(number, names) for number in range(2 * total)]
    for name, kind in KINDS.items():
        assert [place for found, place in turns if found == name] == list(range(2 * kind.weight))


def test_a_command_runs_here_and_apart_with_the_same_answer(tmp_path):
    here = run_inside(["validate", "none.yaml"], tmp_path)
    apart = run_command(["validate", "none.yaml"], tmp_path)
    assert here.exit_code == apart.exit_code == 2
    assert here.message == apart.message
    assert "none.yaml" in here.message


def test_a_command_that_does_not_end_is_ended(tmp_path):
    assert run_command(["--version"], tmp_path, limit_s=0.001).exit_code is None


def test_the_same_seed_makes_the_same_inputs():
    numbers = [3, 17]
    first, second = ([(o.what, o.verdict) for o in outcomes(5, numbers, ("values in job specs",))] for _ in range(2))
    # Paths of temporary folders differ.
    assert [(what, verdict.category) for what, verdict in first] == [
        (what, verdict.category) for what, verdict in second
    ]
