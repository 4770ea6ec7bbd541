"""Cells measured in processes of their own."""

from __future__ import annotations

import os

import pytest

from w2v2_ray.bench.rounds import Cell, run_child, run_rounds
from w2v2_ray.errors import RunFailedError, UserError

MODULE = """
import os, sys, time
from w2v2_ray.errors import SpecError

def count(settings):
    print("libraries print")
    with open(settings["log"], "a") as log:
        log.write(settings["name"])
    return {"process": os.getpid(), "value": 1.5}

def refuse(settings):
    raise SpecError("--size 0: too small")

def crash(settings):
    raise ZeroDivisionError("the reason")

def die(settings):
    os._exit(9)

def hang(settings):
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "measured.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))


def test_rounds_are_interleaved_and_every_repeat_has_a_process_of_its_own(tmp_path):
    log, said = tmp_path / "log", []
    cells = [Cell({"name": name}, "measured:count", {"name": name, "log": str(log)}) for name in "AB"]
    results = run_rounds(cells, 2, said.append)
    assert log.read_text() == "ABAB"
    assert len({found["process"] for result in results for found in result.repeats} | {os.getpid()}) == 5
    assert results[0].spread("value").median == 1.5
    assert all(found["peak_rss_bytes"] > 0 and "load_average" in found for found in results[1].repeats)
    assert [line.split(":")[0] for line in said] == ["[1/2] A", "[1/2] B", "[2/2] A", "[2/2] B"]


def test_what_a_process_says_about_its_input_is_passed_on_as_it_is():
    with pytest.raises(UserError, match=r"^--size 0: too small$"):
        run_child("measured:refuse", {})


@pytest.mark.parametrize(("measure", "said"), [("crash", "the reason"), ("die", "code 9")])
def test_a_process_that_fails_is_reported_with_its_last_words(measure, said):
    with pytest.raises(RunFailedError, match=said):
        run_rounds([Cell({"name": "x"}, f"measured:{measure}")], 1, lambda line: None)


def test_a_process_that_does_not_end_is_given_up():
    with pytest.raises(RunFailedError, match="not done after"):
        run_child("measured:hang", {}, timeout_s=0.5)
