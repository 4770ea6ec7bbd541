"""Which words beam search may say: those of a lexicon, or of a language model's ARPA text."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from w2v2_ray.errors import UserError
from w2v2_ray.impostors import impostor
from w2v2_ray.spec.symbols import SPECIALS, WORD_DELIMITER, visible

Lexicon = dict[str, list[list[str]]]
"""Spellings of every word, each in symbols of the vocabulary and closed by the word boundary."""

_NOT_WORDS = (*SPECIALS, "<UNK>")
_SHOWN = 5
_BOM = b"\xef\xbb\xbf"
_FEW = 0.9
"""Of a language model's words; a warning says when fewer can be spelt."""
_GZIP = b"\x1f\x8b"
_OPENERS: dict[bytes, Callable[..., Any]] = {_GZIP: gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
"""Compressions by their first bytes."""


@dataclass(frozen=True)
class WordList:
    """Words with their spellings.

    Attributes:
        lexicon: The words that may be said.
        notes: What the user should know of them.
    """

    lexicon: Lexicon
    notes: tuple[str, ...] = ()


def words_of_arpa(lm: Path, index: dict[str, int]) -> WordList:
    """The unigrams of an ARPA text, compressed or not, that the vocabulary can spell.

    Args:
        lm: The language model.
        index: Output of each symbol.

    Raises:
        UserError: It is no ARPA text, or none of its words can be spelt.
    """
    listed = [word for word in _unigrams(lm) if word not in _NOT_WORDS]
    lexicon = {word: [[*word, WORD_DELIMITER]] for word in listed if is_spellable(word, index)}
    lost = [word for word in listed if word not in lexicon]
    shown = ", ".join(visible(word) for word in lost[:_SHOWN])
    if not lexicon:
        symbols = " ".join(visible(symbol) for symbol in index if symbol not in SPECIALS)
        raise UserError(
            f"{lm}: the recogniser's symbols ({symbols[:80]}) spell none of its {len(listed)} words "
            f"({shown}); write the language model in the same letter case, or give --lexicon"
        )
    if not lost:
        return WordList(lexicon)
    note = (
        f"{lm}: {len(lexicon)} of {len(listed)} words can be spelt with the recogniser's symbols; never said: {shown}"
    )
    note += f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    if len(lexicon) < _FEW * len(listed):
        other = any(is_spellable(changed, index) for word in lost for changed in (word.upper(), word.lower()))
        cure = "write the language model in the recogniser's letter case" if other else "give --lexicon with spellings"
        note = f"warning: {note}; {cure}"
    return WordList(lexicon, (note,))


def words_of_lexicon(path: Path, index: dict[str, int]) -> WordList:
    """The words of a lexicon: one a line, then its spelling unless it is spelt as written.

    Raises:
        UserError: It cannot be read, or spells a word with other symbols than the recogniser's.
    """
    lexicon: Lexicon = {}
    instead = impostor(path)
    if instead is not None:
        raise UserError(f"{path}: this is {instead}, not a lexicon")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path}: the lexicon cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); a lexicon is text, one word a line") from None
    for number, line in enumerate(lines, 1):
        word, *spelling = line.split() or [""]
        if not word:
            continue
        symbols = [symbol for symbol in spelling or [*word] if symbol != WORD_DELIMITER]
        if not symbols or not is_spellable(symbols, index):
            raise UserError(
                f"{path}:{number}: {visible(word)!r} is spelt {' '.join(map(visible, symbols))!r}, which are not all "
                "symbols of the recogniser; mind letter case, or remove the word"
            )
        spelt = [*symbols, WORD_DELIMITER]
        if spelt not in lexicon.setdefault(word, []):
            lexicon[word].append(spelt)
    if not lexicon:
        raise UserError(f"{path}: no word in this lexicon; write one a line")
    return WordList(lexicon)


@contextmanager
def readable_lm(lm: Path) -> Iterator[Path]:
    """The language model, or a copy in a form that KenLM reads: no byte-order mark, no compression but gzip."""
    with lm.open("rb") as raw:
        packed = raw.read(8).startswith(tuple(magic for magic in _OPENERS if magic != _GZIP))
    with _opened(lm) as file:
        start = file.read(len(_BOM))
        if not packed and start != _BOM:
            yield lm
            return
        with tempfile.NamedTemporaryFile(suffix=".arpa") as copy:
            copy.write(start.removeprefix(_BOM))
            shutil.copyfileobj(file, copy)
            copy.flush()
            yield Path(copy.name)


def is_spellable(symbols: Sequence[str], index: dict[str, int]) -> bool:
    """Whether symbols are all outputs that are heard as themselves."""
    return all(symbol in index and symbol not in SPECIALS and symbol != WORD_DELIMITER for symbol in symbols)


def check_arpa(lm: Path) -> None:
    """Find what KenLM would say of an ARPA text in words of its own source code; other forms are left to it.

    Raises:
        UserError: Naming what is missing.
    """
    with _opened(lm) as file:
        head = file.read(4096)
    instead = impostor(lm)
    if b"\\data\\" not in head:
        if instead is not None and not instead.startswith("packed with"):
            raise UserError(f"{lm}: this is {instead}, not a language model")
        return
    if b"ngram 2=" not in head.replace(b" ", b"").replace(b"ngram2", b"ngram 2"):
        raise UserError(f"{lm}: has single words only; KenLM wants two-word sequences at least (make it with order 2)")
    words = {*_unigrams(lm)}
    missing = [mark for mark in ("<s>", "</s>") if mark not in words]
    if missing:
        raise UserError(
            f"{lm}: lacks {' and '.join(missing)}, the marks of a sentence's start and end, among its words; make it "
            "from one sentence a line with a tool that adds them (such as KenLM's lmplz)"
        )


@contextmanager
def _opened(lm: Path) -> Iterator[IO[bytes]]:
    try:
        with lm.open("rb") as file:
            magic = file.read(8)
        opener = next((opener for start, opener in _OPENERS.items() if magic.startswith(start)), open)
        with opener(lm, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{lm}: cannot be read ({getattr(error, 'strerror', None) or error}); copy it again") from None


def _unigrams(lm: Path) -> Iterator[str]:
    with _opened(lm) as file:
        if b"\\data\\" not in file.read(4096):
            raise UserError(f"{lm}: not an ARPA text, so its words cannot be listed; give them with --lexicon")
        file.seek(0)
        inside = False
        for number, line in enumerate(file, 1):
            line = line.removeprefix(_BOM)
            if line.startswith(b"\\"):
                if inside:
                    return
                inside = line.strip() == b"\\1-grams:"
            elif inside and len(columns := line.split()) > 1:
                try:
                    yield columns[1].decode()
                except UnicodeDecodeError:
                    raise UserError(f"{lm}:{number}: not UTF-8 text; convert the language model") from None
