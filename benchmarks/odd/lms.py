"""Language models and lexicons as they are found: packed, in another letter case, saved by other systems, broken."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from odd.answer import Answer
from odd.attempt import Attempt, Recipe, pick
from odd.verdict import RIGHT, Verdict, refused, silent_loss, wrong_success
from odd.workbench import Workbench

WORDS = ("A", "THE", "SAW", "TIRED", "SOLDIER", "OFTEN", "HID", "RIVER", "NO", "SEA", "I", "HAT")


def arpa(words: Sequence[str], *, separator: str = "\t", start: str = "<s>", unknown: bool = True) -> str:
    """A bigram model: KenLM takes no smaller one."""
    entries = [f"-99{separator}{start}{separator}0"] * bool(start) + [f"-1.2{separator}</s>"]
    entries += [f"-2.5{separator}<unk>"] * unknown
    entries += [f"-{1.0 + 0.1 * number:.1f}{separator}{word}{separator}-0.3" for number, word in enumerate(words)]
    pairs = [f"-0.7{separator}{first} {second}" for first, second in pairwise(words)]
    return (
        f"\\data\\\nngram 1={len(entries)}\nngram 2={len(pairs)}\n\n\\1-grams:\n"
        + "\n".join(entries)
        + "\n\n\\2-grams:\n"
        + "\n".join(pairs)
        + "\n\n\\end\\\n"
    )


def _with_lm(
    what: str,
    content: bytes,
    folder: Path,
    bench: Workbench,
    *,
    name: str = "lm.arpa",
    spelt: tuple[int, int] | None = None,
    must: bool = False,
    lexicon: bytes | None = None,
    naming: Sequence[str] = (),
) -> Attempt:
    """Transcribe with a language model, and with the one it should amount to.

    Args:
        what: What is odd.
        content: Of the file.
        folder: Where it goes.
        bench: The recogniser.
        name: Of the file.
        spelt: How many of its words can be spelt, of how many; None when it cannot be used.
        must: It is in order.
        lexicon: A lexicon to go with it.
        naming: What a refusal must name.
    """
    (folder / name).write_bytes(content)
    (folder / "plain.arpa").write_text(arpa(WORDS))
    options = ["--device", "cpu"]
    listed: list[str] = []
    if lexicon is not None:
        (folder / "words.lexicon").write_bytes(lexicon)
        listed = ["--lexicon", "words.lexicon"]
    base = ("transcribe", str(bench.recogniser), str(bench.speech))
    commands = (
        (*base, "--lm", name, *listed, *options),
        (*base, "--lm", "plain.arpa", *options),
    )
    return Attempt(what, commands, lambda answers: _judge(answers, spelt, must, naming))


def _judge(answers: Sequence[Answer], spelt: tuple[int, int] | None, must: bool, naming: Sequence[str]) -> Verdict:
    odd, plain = answers
    if odd.exit_code:
        return refused(odd, may=not must, naming=naming)
    if spelt is None:
        return wrong_success(f"used all the same: {odd.out.strip()[:80]!r}")
    words = odd.out.split()
    if not {word.upper() for word in words} <= {*WORDS}:
        return wrong_success(f"words that are not in the language model: {odd.out.strip()[:80]!r}")
    some, total = spelt
    if some == total:
        fine = odd.out == plain.out
        return (
            RIGHT if fine else wrong_success(f"{odd.out.strip()[:60]!r}, and {plain.out.strip()[:60]!r} as plain ARPA")
        )
    counted = re.search(rf"\b{some}\b.{{0,60}}\b{total}\b", odd.said) or re.search(
        rf"\b{total - some}\b.{{0,60}}\b{total}\b", odd.said
    )
    return RIGHT if counted else silent_loss(f"{total - some} of {total} words dropped, and nobody was told")


def _cases(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Words in the letter case of the recogniser, of another, or of both."""
    upper = int(rng.integers(0, len(WORDS) + 1))
    order = [WORDS[int(index)] for index in rng.permutation(len(WORDS))]
    other = pick(rng, ("lower", "title"))
    words = [word if number < upper else getattr(word, other)() for number, word in enumerate(order)]
    # Titles of one letter are upper case, too.
    some = sum(word.isupper() for word in words)
    spelt = (some, len(words)) if some else None
    what = f"{some} of {len(words)} words in upper case, the others in {other} case"
    ordered = sorted(words, key=lambda word: WORDS.index(word.upper())) if some == len(words) else words
    return _with_lm(what, arpa(ordered).encode(), folder, bench, spelt=spelt, must=bool(some))


def _unspeakable(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Words with characters that the recogniser has not."""
    odd = [
        pick(rng, ("CAFÉ", "3", "C-3PO", "МИР", "日本", "<SPOKEN_NOISE>", "[NOISE]", "!SIL", "A.B", "X|Y", "e"))
        for _ in range(3)
    ]
    odd = list(dict.fromkeys(odd))
    count = len(WORDS)
    return _with_lm(
        f"words such as {' '.join(odd)}",
        arpa([*WORDS, *odd]).encode(),
        folder,
        bench,
        spelt=(count, count + len(odd)),
        must=True,
    )


def _packed(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Compressed, whole and cut off, under the right and a wrong suffix."""
    packers: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    suffix = pick(rng, list(packers))
    content = packers[suffix](arpa(WORDS).encode())
    cut = rng.uniform() < 0.3
    name = pick(rng, (f"lm.arpa{suffix}", f"lm{suffix}", "lm.arpa", f"LM.ARPA{suffix.upper()}"))
    size = len(WORDS)
    what = f"{suffix[1:]} named {name}{', cut off' * cut}"
    must = suffix == ".gz" and name == "lm.arpa.gz" and not cut
    content = content[: len(content) // 2] if cut else content
    return _with_lm(what, content, folder, bench, name=name, spelt=None if cut else (size, size), must=must)


def _written(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """ARPA texts as other programs and systems write them."""
    size, text = len(WORDS), arpa(WORDS)
    whole = (size, size)
    forms: dict[str, tuple[bytes, tuple[int, int] | None, bool]] = {
        "as it should be": (text.encode(), whole, True),
        "CRLF": (text.replace("\n", "\r\n").encode(), whole, False),
        "a byte-order mark": (b"\xef\xbb\xbf" + text.encode(), whole, False),
        "UTF-16": (text.encode("utf-16"), whole, False),
        "spaces for tabs": (arpa(WORDS, separator=" ").encode(), whole, False),
        "a comment before": (b"# made by hand\n\n" + text.encode(), whole, False),
        "no <s>": (arpa(WORDS, start="").encode(), whole, False),
        "no <unk>": (arpa(WORDS, unknown=False).encode(), whole, True),
        "no \\end\\": (text.replace("\\end\\\n", "").encode(), whole, False),
        "a wrong count": (text.replace(f"1={size + 3}", f"1={size + 9}").encode(), whole, False),
        "a count of 2^40": (text.replace(f"1={size + 3}", f"1={2**40}").encode(), whole, False),
        "a probability above 1": (text.replace("-1.2\t", "1.2\t").encode(), whole, False),
        "NaN for a probability": (text.replace("-1.0\t", "nan\t").encode(), whole, False),
        "commas for points": (text.replace("-1.", "-1,").encode(), whole, False),
        "a word twice": (arpa([*WORDS, WORDS[0]]).encode(), whole, False),
        "Latin-1": (arpa([*WORDS, "CAFÉ"]).encode("latin-1"), (size, size + 1), False),
        "zeros at its end": (text.encode() + bytes(100), whole, False),
        "two models": ((text + text).encode(), whole, False),
    }
    what = pick(rng, list(forms))
    content, spelt, must = forms[what]
    return _with_lm(f"ARPA: {what}", content, folder, bench, spelt=spelt, must=must)


def _no_model(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """What is no language model."""
    binary = b"mmap lm http://kheafield.com/code format version 5\n\0"
    contents: dict[str, tuple[bytes, tuple[str, ...]]] = {
        "nothing": (b"", ()),
        "text": (b"THE RIVER\nA SOLDIER\n", ()),
        "a Git LFS pointer": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0a" * 32 + b"\nsize 9\n",
            ("lfs",),
        ),
        "an HTML page": (b"<!DOCTYPE html>\n<html><body>404</body></html>", ("html|web page",)),
        "noise": (rng.bytes(3_000), ()),
        "a KenLM binary cut off": (binary + bytes(30), ()),
        "an ARPA cut off": (arpa(WORDS).encode()[:120], ()),
        "a header alone": (b"\\data\\\n", ()),
        "no words": (arpa([]).encode(), ()),
        "a zip file": (b"PK\x03\x04" + rng.bytes(200), ()),
    }
    what = pick(rng, list(contents))
    content, naming = contents[what]
    return _with_lm(f"{what} for a language model", content, folder, bench, naming=naming)


def _lexicons(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    size = len(WORDS)
    whole = (size, size)
    lines = [f"{word}\t{' '.join(word)} |" for word in WORDS]
    text = "\n".join(lines) + "\n"
    forms: dict[str, tuple[bytes, tuple[int, int] | None, bool]] = {
        "as it should be": (text.encode(), whole, True),
        "words alone": (("\n".join(WORDS) + "\n").encode(), whole, True),
        "CRLF": (text.replace("\n", "\r\n").encode(), whole, True),
        "a byte-order mark": (b"\xef\xbb\xbf" + text.encode(), whole, True),
        "UTF-16": (text.encode("utf-16"), whole, False),
        "Latin-1": ((text + "CAFÉ\tC A F É |\n").encode("latin-1"), None, False),
        "letters that the recogniser has not": ((text + "CAFÉ\tC A F É |\n").encode(), None, False),
        "lower case": (text.lower().encode(), None, False),
        "nothing": (b"", None, False),
        "phones": (b"THE DH AH\nSAW S AO\n", None, False),
        "a comment": (b"# words\n" + text.encode(), whole, False),
        "a word twice": ((text + lines[0] + "\n").encode(), whole, True),
        "blank lines": (text.replace("\n", "\n\n").encode(), whole, True),
        "an HTML page": (b"<html>404</html>", None, False),
    }
    what = pick(rng, list(forms))
    content, spelt, must = forms[what]
    return _with_lm(f"lexicon: {what}", arpa(WORDS).encode(), folder, bench, spelt=spelt, must=must, lexicon=content)


RECIPES: tuple[Recipe, ...] = (_cases, _written, _packed, _no_model, _lexicons, _unspeakable)
