"""Folders of audio with texts beside it: LibriSpeech trees, a text file for each, and what is nearly like them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from odd.answer import Answer
from odd.attempt import Attempt, Recipe, pick
from odd.listing import Listing, Utterance, attempt, corpus, without_text
from odd.manifest_tables import encoded
from odd.sound import WORDS, tone
from odd.verdict import RIGHT, Verdict, refused, silent_loss, worst
from odd.workbench import Workbench

_CORPUS = "corpus"
_PLAIN = ("{}", "{} AGAIN", "THE {}")


def _librispeech(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A tree with *.trans.txt."""
    chapter = folder / _CORPUS / "19" / "198"
    found = corpus(rng, chapter, suffix=".flac", texts=_PLAIN)
    utterances = []
    for number, u in enumerate(found):
        name = f"19-198-{number:04d}"
        (chapter / u.file).rename(chapter / f"{name}.flac")
        utterances.append(Utterance(u.words, u.seconds, u.text, name))
    separator = pick(rng, [" ", " ", " ", "\t", "  "])
    lines = [f"{u.file}{separator}{u.text}" for u in utterances]
    what = pick(rng, ["whole", "whole", "a line without audio", "audio without a line", "an id alone", "an id twice"])
    if what == "a line without audio":
        lines.append("19-198-0099 NOTHING")
        utterances.append(Utterance(("NOTHING",), 1.0, "NOTHING", "19-198-0099"))
    elif what == "audio without a line":
        lines.pop()
        utterances = [*utterances[:-1], *without_text(utterances[-1:])]
    elif what == "an id alone":
        lines[-1] = utterances[-1].file
        utterances = [*utterances[:-1], *without_text(utterances[-1:])]
    elif what == "an id twice":
        lines.append(f"{utterances[0].file} OTHER WORDS")
    how, content, must = encoded(rng, "\n".join(lines) + "\n")
    (chapter / "19-198.trans.txt").write_bytes(content)
    in_order = must and what == "whole" and separator == " "
    told_by = (r"twice", r"again", r"duplicate") if what == "an id twice" else ()
    listing = Listing(tuple(utterances), must=in_order, told_by=told_by, contradicts=what == "an id twice")
    return attempt(f"LibriSpeech {what}, {separator!r}, {how}", _CORPUS, listing, folder)


def _beside(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A text file beside each audio file, under all sorts of names."""
    utterances = corpus(rng, folder / _CORPUS, suffix=pick(rng, [".wav", ".WAV", ".flac"]))
    suffix = pick(rng, [".txt", ".txt", ".txt", ".TXT", ".lab", ".trans", ".wrd", ".normalized.txt", ".text", ".json"])
    suffix = pick(rng, [suffix, suffix, "added"])
    for u in utterances:
        name = f"{u.file}.txt" if suffix == "added" else u.file.rpartition(".")[0] + suffix
        (folder / _CORPUS / name).write_text(f"{u.text}\n", encoding="utf-8")
    told_by = (rf"\.?{suffix.rpartition('.')[2]}\b", r"\.txt") if suffix != ".txt" else ()
    listing = Listing(utterances, must=suffix == ".txt", told_by=told_by)
    return attempt(f"folder with {suffix} beside", _CORPUS, listing, folder)


def _encoded_beside(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    utterances = corpus(rng, folder / _CORPUS)
    how, must = [], True
    for u in utterances:
        one, content, fine = encoded(rng, f"{u.text}\n")
        how.append(one)
        must = must and fine
        (folder / _CORPUS / f"{u.file.partition('.')[0]}.txt").write_bytes(content)
    listing = Listing(utterances, must=must)
    return attempt(f"folder with .txt {', '.join(how)}", _CORPUS, listing, folder)


def _orphans(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Texts without audio, audio without text, and files that are neither."""
    place = folder / _CORPUS
    utterances = list(corpus(rng, place))
    for u in utterances:
        (place / f"{u.file.partition('.')[0]}.txt").write_text(f"{u.text}\n")
    what = pick(
        rng, ["text without audio", "audio without text", "other suffix", "m4a", "zip", "no suffix", "two audio"]
    )
    told_by: tuple[str, ...] = ()
    if what == "text without audio":
        (place / "lonely.txt").write_text("NOBODY SAYS THIS\n")
        utterances.append(Utterance(("NOBODY",), 1.0, None, "lonely.txt"))
        told_by = (r"lonely", r"without audio", r"no audio", r"\.txt")
    elif what == "audio without text":
        (place / "u0.txt").unlink()
        utterances[0] = without_text(utterances[:1])[0]
    elif what == "two audio":
        # The same words in two formats: both are kept, under names of their own.
        samples, rate_hz = soundfile.read(place / "u0.wav")
        soundfile.write(place / "u0.flac", samples, rate_hz)
        utterances.append(utterances[0])
    else:
        name, content = {
            "other suffix": ("talk.xyz", rng.bytes(3_000)),
            "m4a": ("talk.m4a", b"\0\0\0\x20ftypM4A " + rng.bytes(2_000)),
            "zip": ("talks.zip", b"PK\x03\x04" + rng.bytes(500)),
            "no suffix": ("talk", (place / "u0.wav").read_bytes()),
        }[what]
        (place / name).write_bytes(content)
        utterances.append(Utterance(("TALK",), 1.0, None, name))
        told_by = (r"talk", rf"\.{name.partition('.')[2]}\b" if "." in name else r"suffix|passed over")
    listing = Listing(tuple(utterances), must=what in ("audio without text", "two audio"), told_by=told_by)
    return attempt(f"folder with {what}", _CORPUS, listing, folder)


def _hidden(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """What systems leave behind is not audio: it is skipped, by `prepare` and `transcribe` alike."""
    place = folder / _CORPUS
    utterances = corpus(rng, place)
    (place / "._u0.wav").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(70))
    (place / ".trash").mkdir()
    (place / ".trash" / "old.wav").write_bytes((place / "u1.wav").read_bytes())
    (place / ".DS_Store").write_bytes(bytes(100))
    base = attempt("hidden files", _CORPUS, Listing(without_text(utterances), must=True), folder)
    transcribe = ("transcribe", str(bench.recogniser), _CORPUS, "--format", "jsonl", "--device", "cpu")

    def judge(answers: Sequence[Answer]) -> Verdict:
        lines = answers[1].out.strip().splitlines()
        heard = refused(answers[1], may=False) if answers[1].exit_code else RIGHT
        if not answers[1].exit_code and len(lines) != len(utterances):
            heard = silent_loss(f"{len(lines)} transcripts of {len(utterances)} files")
        return worst([base.judge(answers[:1]), heard])

    return Attempt("hidden files", (*base.commands, transcribe), judge)


def _trees(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Folders within folders, names that collide, links."""
    utterances, words = [], rng.permutation(len(WORDS))[:4]
    shapes = {
        "one name in four folders": ["a/x.wav", "b/x.wav", "c/x.wav", "c/d/x.wav"],
        "names that would be ids of others": ["x.wav", "x.flac", "x~2.wav", "x~2~2.wav"],
        "case alone": ["x.wav", "X.wav", "x.WAV", "X.WAV"],
        "names of letters alike": ["\u00e9.wav", "e\u0301.wav", "\u0435.wav", "e.wav"],
        "a link to a folder": ["real/1.wav", "real/2.wav", "3.wav", "4.wav"],
    }
    what = pick(rng, list(shapes))
    for index, name in zip(words, shapes[what], strict=True):
        path = folder / _CORPUS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        word = WORDS[int(index)]
        soundfile.write(path, tone(word, 0.6), 16_000)
        path.with_name(f"{path.stem}.txt").write_text(word)
        utterances.append(Utterance((word,), 0.6, word, name))
    told_by: tuple[str, ...] = ()
    if what in ("case alone", "names that would be ids of others"):
        # Files that share a .txt: it cannot be the text of all of them.
        for path in (folder / _CORPUS).glob("*.txt"):
            path.unlink()
        utterances = list(without_text(utterances))
    if what == "a link to a folder":
        os.symlink(".", folder / _CORPUS / "loop")
        told_by = (r"link",)
    return attempt(f"folder with {what}", _CORPUS, Listing(tuple(utterances), must=True, told_by=told_by), folder)


RECIPES: tuple[Recipe, ...] = (_librispeech, _beside, _orphans, _encoded_beside, _hidden, _trees)
