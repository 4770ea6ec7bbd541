"""Transcripts with characters that nobody sees, that look like others, or that are more than one."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from odd.answer import Answer
from odd.attempt import Attempt, Recipe, pick
from odd.verdict import RIGHT, Category, Verdict, refused, wrong_success
from odd.workbench import LETTERS, MODEL, RATE_HZ, SPECIALS, Workbench

_WORDS = ("THE RIVER", "A TIRED SOLDIER", "OFTEN HID")
_NAMELESS = ("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp")
_DROPPED = (
    *("\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2060", "\u2063", "\ufeff", "\u00ad", "\u061c"),
    *("\u202a", "\u202b", "\u202c", "\u202e", "\u2066", "\u2069", "\u180e", "\U000e0001", "\U000e0041", "\ufff9"),
    *("\x01", "\x07", "\x08", "\x1b", "\x7f", "\x80", "\x9f", "\u206a", "\U0001d173", "\u0600"),
)
"""Format and control characters: nobody says them, and nobody sees them."""
_SPACES = (
    "\u00a0",
    "\u1680",
    "\u2003",
    "\u2009",
    "\u2028",
    "\u2029",
    "\u202f",
    "\u205f",
    "\u3000",
    "\t",
    "\r\n",
    "\x0b",
)
_FREE = (
    *("\ue000", "\U000f0000", "\u0378", "\ufdd0", "\uffff", "\ufffd", "\u0301", "\u20dd", "\ufe0f", "\U0001f600"),
    *("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "1\ufe0f\u20e3", "|", "<s>", "#", "\u2800"),
    *("\u3164", "\u115f", "\uffa0", "\u034f", "\u17b4", "\U0001d15e", "½", "…", "№", "²", "ǆ", "א", "ﷺ", "ก็", "क्ष"),
)
"""What may become a symbol or not, but must be shown in a way that can be read."""
_KEPT = {
    "e\u0301": "É",
    "é": "É",
    "ﬁ": "FI",
    "\uff41": "A",
    "ß": "SS",
    "\u2019": "\u2019",
    "ñ": "Ñ",
    "n\u0303": "Ñ",
    "ǧ": "Ǧ",
    "ж": "Ж",
    "å": "Å",
}
"""What must become these symbols."""


@dataclass(frozen=True)
class _Text:
    """What the symbols of a job must be.

    Args:
        symbols: Those that must be there.
        exactly: Whether there may be no others.
        vocabulary: The job brings its own.
    """

    symbols: frozenset[str]
    exactly: bool
    vocabulary: bool = False


def _job(
    what: str,
    texts: Sequence[str],
    expected: _Text,
    folder: Path,
    extra: dict[str, Any] | None = None,
) -> Attempt:
    """Prepare transcripts, and plan a recogniser on them."""
    (folder / "source").mkdir()
    lines = []
    for number, text in enumerate(texts):
        wave = 0.2 * np.sin(np.arange(RATE_HZ * 2) * 0.05 * (number + 1))
        soundfile.write(folder / "source" / f"{number}.wav", wave, RATE_HZ)
        lines.append(json.dumps({"audio_filepath": f"{number}.wav", "text": text}))
    (folder / "source" / "list.jsonl").write_text("\n".join(lines) + "\n")
    job: dict[str, Any] = {"kind": "finetune", "preset": "tiny", "name": "odd", "model": MODEL}
    job |= {"storage_path": str(folder / "runs"), "data": {"train": str(folder / "data")}, **(extra or {})}
    (folder / "job.yaml").write_text(json.dumps(job))
    commands = (
        ("prepare", "source/list.jsonl", "--out", "data"),
        ("plan", "job.yaml", "--json"),
        ("plan", "job.yaml"),
    )
    return Attempt(what, commands, lambda answers: _judge(answers, expected, len(texts)))


def _judge(answers: Sequence[Answer], expected: _Text, count: int) -> Verdict:
    prepared, planned, shown = answers
    for answer in answers:
        if answer.exit_code:
            # Where one character is all there is to it, to refuse the whole list would lose the rest.
            return refused(answer, may=not expected.exactly)
    nameless = sorted({c for c in shown.out if unicodedata.category(c) in _NAMELESS and c != "\n"})
    if nameless:
        return wrong_success(f"plan prints {', '.join(f'U+{ord(c):04X}' for c in nameless)} as it is")
    plan = json.loads(planned.out)
    symbols = set(plan["symbols"]) - {*SPECIALS, "|"}
    missing, more = expected.symbols - symbols, symbols - expected.symbols
    if missing and not expected.vocabulary:
        return wrong_success(f"no symbol for {' '.join(sorted(missing))} among {' '.join(sorted(symbols))}")
    if more and expected.exactly:
        return wrong_success(f"symbols nobody wrote: {', '.join(f'U+{ord(c[0]):04X}' for c in sorted(more))}")
    if expected.exactly and plan["data"]["kept"] != count:
        return Verdict(Category.REFUSED_WRONGLY, f"{plan['data']['kept']} of {count} kept: {plan['data']['left_out']}")
    return Verdict(
        RIGHT.category, f"{len(symbols)} symbols; {prepared.out.splitlines()[-1][:80] if prepared.out else ''}"
    )


def _inside(rng: np.random.Generator, odd: str, lower: bool = False) -> list[str]:
    """The texts with something put into some of them."""
    texts = [text.lower() if lower else text for text in _WORDS]
    number = int(rng.integers(len(texts)))
    for at in (number, (number + 1) % len(texts)):
        place = int(rng.integers(len(texts[at]) + 1))
        texts[at] = texts[at][:place] + odd + texts[at][place:]
    return texts


_BASE = frozenset("".join(_WORDS)) - {" "}


def _invisible(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    odd = pick(rng, _DROPPED)
    extra = [{}, {"vocabulary": {"symbols": list(LETTERS)}}][int(rng.integers(2))]
    expected = _Text(frozenset(LETTERS) if extra else _BASE, exactly=True, vocabulary=bool(extra))
    how = "a given vocabulary" if extra else "a vocabulary of the transcripts"
    return _job(f"U+{ord(odd):04X}, {how}", _inside(rng, odd), expected, folder, extra)


def _spaces(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    odd = pick(rng, _SPACES)
    extra = [{}, {"vocabulary": {"symbols": list(LETTERS)}}][int(rng.integers(2))]
    expected = _Text(frozenset(LETTERS) if extra else _BASE, exactly=True, vocabulary=bool(extra))
    return _job(f"space U+{ord(odd[0]):04X}", _inside(rng, odd), expected, folder, extra)


def _composed(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    odd = pick(rng, list(_KEPT))
    # At the end of a text, so that a letter before it does not join with it.
    texts = [f"{text} x{odd}" for text in _WORDS]
    expected = _Text(_BASE | {"X"} | set(_KEPT[odd]), exactly=True)
    return _job(f"{unicodedata.normalize('NFC', odd)} as {len(odd)} characters", texts, expected, folder)


def _free(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    odd = pick(rng, _FREE)
    names = " ".join(f"U+{ord(c):04X}" for c in odd)
    return _job(f"{names} in transcripts", _inside(rng, odd), _Text(frozenset(), exactly=False), folder)


def _turkish(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """With the replacement that the documentation names, İ is i and I is \u0131."""
    extra = {"text": {"case": "lower", "replace": {"İ": "i", "I": "\u0131"}}}
    texts = ["İSTANBUL IŞIK", "DİYARBAKIR", "ÇAĞ ÖLÜ"]
    expected = _Text(frozenset("istanbul\u0131şkdyrçağöü"), exactly=True)
    return _job("Turkish letters", texts, expected, folder, extra)


def _nothing(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Transcripts that are empty once what nobody says is gone."""
    odd = pick(rng, ("", " ", "\u200b", "\ufeff", "\u00a0\u200b", "\u2028", "\x07"))
    everywhere = rng.uniform() < 0.5
    texts = [odd] * 3 if everywhere else [_WORDS[0], odd, _WORDS[2]]
    expected = _Text(frozenset(), exactly=False)
    return _job(f"{'all' if everywhere else 'one'} of the transcripts {odd!r}", texts, expected, folder)


RECIPES: tuple[Recipe, ...] = (_invisible, _free, _spaces, _composed, _nothing, _turkish)
