"""Corpora of tones that say words, and whether what was stored of one is what its lists say.

The stored audio tells by its frequency which text belongs to it, whatever the program thinks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from odd.answer import Answer
from odd.attempt import Attempt, pick
from odd.sound import WORDS, tone, words_heard
from odd.stored import Row, rejects_of, rows_of
from odd.verdict import RIGHT, Verdict, refused, silent_loss, told, wrong_success

_SLACK_S = 0.11
_SLACK = 0.03
_NO_TEXT = (r"without (a )?transcript", r"no transcript", r"transcripts? (are|is|was|were) (not|passed|ignored)")
_ORNAMENTS = (
    "{}",
    "{}",
    "{} again",
    "{}, he said; and so on",
    "the {}",
    "l'{} d'été",
    "{} straße größe",
    "он {} сказал",
    "{} 日本語",
    "{} 50 % of it",
)
QUOTED = ('"{}" she said', '"{} began', 'so "{}"', "'{}'", '{} 5" long')
"""Texts with quotation marks, which readers of tables take for their own."""


@dataclass(frozen=True)
class Utterance:
    """What a list says of a piece of audio, or should say.

    Args:
        words: What is heard in it.
        seconds: How long it is.
        text: What the list says is said; None when it says nothing.
        file: Name of the file.
    """

    words: tuple[str, ...]
    seconds: float
    text: str | None
    file: str


@dataclass(frozen=True)
class Listing:
    """What is known of a corpus.

    Args:
        utterances: What must be stored, left out with a reason, or be told of.
        must: It is in order, and may not be refused.
        told_by: What must be said when something of it is passed over.
        contradicts: It says two things of the same audio: one of them cannot be right.
    """

    utterances: tuple[Utterance, ...]
    must: bool = False
    told_by: tuple[str, ...] = ()
    contradicts: bool = False


def corpus(
    rng: np.random.Generator, folder: Path, count: int = 3, *, suffix: str = ".wav", texts: Sequence[str] = _ORNAMENTS
) -> tuple[Utterance, ...]:
    """Write files that say a word each."""
    folder.mkdir(parents=True, exist_ok=True)
    utterances = []
    for number, index in enumerate(rng.permutation(len(WORDS))[:count]):
        word, seconds = WORDS[int(index)], round(float(rng.uniform(0.5, 0.9)), 2)
        file = f"u{number}{suffix}"
        soundfile.write(folder / file, tone(word, seconds), 16_000, format="MP3" if suffix == ".mp3" else None)
        text = pick(rng, texts).format(word if rng.uniform() < 0.7 else word.lower())
        utterances.append(Utterance((word,), seconds, text, file))
    return tuple(utterances)


def recording(rng: np.random.Generator, path: Path, count: int = 3) -> tuple[Utterance, ...]:
    """Write one file that says several words, one after the other; returns each word, as a part of it."""
    words = [WORDS[int(index)] for index in rng.permutation(len(WORDS))[:count]]
    soundfile.write(path, np.concatenate([tone(word, 0.6) for word in words]), 16_000)
    return tuple(Utterance((word,), 0.6, word, path.name) for word in words)


def whole(parts: Sequence[Utterance], text: str | None = None) -> Utterance:
    """The whole of a recording; its text is that of all parts unless another is given."""
    words = tuple(word for part in parts for word in part.words)
    return Utterance(words, sum(part.seconds for part in parts), text or " ".join(words), parts[0].file)


def without_text(utterances: Sequence[Utterance]) -> tuple[Utterance, ...]:
    """The same, of which nobody says what is said."""
    return tuple(replace(utterance, text=None) for utterance in utterances)


def attempt(what: str, source: str, listing: Listing, folder: Path, options: Sequence[str] = ()) -> Attempt:
    """Prepare a source and compare what is stored with what its lists say."""
    command = ("prepare", source, "--out", "out", "--max-rejects", "0.9", *options)
    return Attempt(what, (command,), lambda answers: judge(answers[0], folder / "out", listing))


def judge(answer: Answer, out: Path, listing: Listing) -> Verdict:
    """Judge what became of a corpus."""
    if answer.exit_code:
        return refused(answer, may=not listing.must)
    rows, rejects = rows_of(out), rejects_of(out)
    was_told = told(answer, listing.told_by)
    if listing.contradicts:
        fine = was_told or rejects or len(rows) < len(listing.utterances)
        return RIGHT if fine else wrong_success("the list contradicts itself, and nobody was told")
    for row in rows:
        found = _belongs(row, listing)
        if found is not None:
            return found
    if listing.must and rejects:
        return Verdict(refused(answer, may=False).category, f"{rejects[0]['reason']}: {rejects[0]['detail']}")
    if len(rows) + len(rejects) < len(listing.utterances) and not was_told:
        return silent_loss(f"{len(rows)} stored and {len(rejects)} left out of {len(listing.utterances)}")
    return _texts_kept(answer, listing, [row.transcript for row in rows], was_told=was_told)


def _belongs(row: Row, listing: Listing) -> Verdict | None:
    """Judge whether a stored utterance is one of the listing, with its own text; None when it is."""
    heard = words_heard(row.samples)
    known = [u for u in listing.utterances if set(u.words) == set(heard)]
    if not known:
        return wrong_success(f"{row.id}: {row.seconds:.2f} s that say {heard} under {row.transcript!r}")
    text = _visible(row.transcript or "")
    if text and text not in [_visible(u.text or "") for u in known]:
        return wrong_success(f"{row.id}: says {heard}, its transcript is {row.transcript!r}, not {known[0].text!r}")
    if not any(_as_long(row.seconds, u.seconds) for u in known):
        return silent_loss(f"{row.id}: {row.seconds:.2f} s stored of {known[0].seconds:.2f} s")
    return None


def _visible(text: str) -> str:
    """A text with one space between words, and without characters that nobody sees."""
    seen = (" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cf"))
    return " ".join("".join(seen).split())


def _texts_kept(answer: Answer, listing: Listing, stored: Sequence[str | None], *, was_told: bool) -> Verdict:
    """Judge whether texts were passed over."""
    given = sum(bool(utterance.text and utterance.text.strip()) for utterance in listing.utterances)
    kept = sum(bool(text) for text in stored)
    missing = min(given, len(stored)) - kept
    counted = (rf"\b{kept}\b[^\n]*transcript", rf"transcript[^\n]*\b{kept}\b", *_NO_TEXT)
    if missing > 0 and listing.must:
        return silent_loss(f"{kept} of {given} transcripts were kept of a list that is in order")
    if missing > 0 and not was_told and not told(answer, counted):
        return silent_loss(f"{kept} of {given} transcripts were kept, and nobody was told")
    return Verdict(RIGHT.category, f"{len(stored)} stored, {kept} with a transcript")


def _as_long(stored_s: float, meant_s: float) -> bool:
    return abs(stored_s - meant_s) <= _SLACK_S + _SLACK * meant_s
