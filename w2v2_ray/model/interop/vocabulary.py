"""Vocabularies of recognisers: fairseq's dictionary text, Hugging Face's `vocab.json`, a list of symbols.

Ours is the list of symbols in the order of the outputs, the CTC blank first, under fairseq's names (`<s>` is the
blank, `|` ends a word). Hugging Face calls the same blank `<pad>` and the symbol after it `<s>`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from w2v2_ray.errors import CheckpointError
from w2v2_ray.impostors import impostor
from w2v2_ray.spec.symbols import BLANK, SPECIALS, WORD_DELIMITER, are_tokens

_HUGGINGFACE_BLANK = "<pad>"
_SWAP = {BLANK: _HUGGINGFACE_BLANK, _HUGGINGFACE_BLANK: BLANK}
_OVERWRITE = "#fairseq:overwrite"
_MAX_BYTES = 16 << 20


def from_dictionary_text(text: str, source: str) -> tuple[str, ...]:
    """Read a fairseq dictionary: one `symbol count` a line, the four special symbols left out.

    Raises:
        CheckpointError: For a line of another form or a symbol that comes twice.
    """
    symbols = list(SPECIALS)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        symbol, _, count = line.rstrip().removesuffix(_OVERWRITE).rstrip().rpartition(" ")
        if not symbol or not count.lstrip("-").isdigit():
            raise CheckpointError(f"{source}:{number}: {line[:60]!r} is not `symbol count`, as fairseq writes it")
        if symbol in symbols and _OVERWRITE not in line:
            raise CheckpointError(f"{source}:{number}: {symbol!r} comes twice; remove one of the lines")
        if symbol not in symbols:
            symbols.append(symbol)
    return tuple(symbols)


def to_dictionary_text(vocabulary: Sequence[str]) -> str:
    """Write a vocabulary as a fairseq dictionary. How often symbols occurred is not known: every count is 1.

    Raises:
        CheckpointError: When fairseq would number the symbols differently.
    """
    if tuple(vocabulary[: len(SPECIALS)]) != SPECIALS:
        raise CheckpointError(
            f"a fairseq dictionary begins with {' '.join(SPECIALS)}, this vocabulary with "
            f"{' '.join(vocabulary[: len(SPECIALS)])}; export to huggingface, which takes any order"
        )
    return "".join(f"{symbol} 1\n" for symbol in vocabulary[len(SPECIALS) :])


def from_index(index: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """Order the symbols of a `{symbol: number}` mapping.

    Raises:
        CheckpointError: Unless the numbers are 0, 1, 2, ...
    """
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in index.values()):
        raise CheckpointError(
            f"{source}: not a vocabulary ({{symbol: number}}); vocabularies per language are not read"
        )
    if sorted(index.values()) != list(range(len(index))):
        raise CheckpointError(f"{source}: its {len(index)} symbols are not numbered 0 to {len(index) - 1}")
    return tuple(sorted(index, key=lambda symbol: int(index[symbol])))


def from_huggingface(symbols: Sequence[str], blank: int, word_delimiter: str | None) -> tuple[str, ...]:
    """Put the blank first and give blank and word delimiter our names; heads are permuted by `blank_first`."""
    ordered = [symbols[i] for i in blank_first(len(symbols), blank)]
    if word_delimiter and word_delimiter != WORD_DELIMITER and WORD_DELIMITER not in ordered:
        ordered = [WORD_DELIMITER if symbol == word_delimiter else symbol for symbol in ordered]
    if ordered[0] == _HUGGINGFACE_BLANK:
        ordered = [_SWAP.get(symbol, symbol) for symbol in ordered]
    return tuple(ordered)


def to_huggingface(vocabulary: Sequence[str]) -> tuple[str, ...]:
    """Give the symbols Hugging Face's names; the order stays."""
    if vocabulary[0] == BLANK:
        return tuple(_SWAP.get(symbol, symbol) for symbol in vocabulary)
    return tuple(vocabulary)


def blank_first(count: int, blank: int) -> list[int]:
    """The order of outputs in which the blank comes first and the others stay as they are."""
    return [blank, *(index for index in range(count) if index != blank)]


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """Read a vocabulary that a user names: JSON (our list, or `{symbol: number}`) or a fairseq dictionary.

    Raises:
        CheckpointError: When it cannot be read as either.
    """
    text = read_small_text(path)
    if path.suffix != ".json":
        return from_dictionary_text(text, str(path))
    content = parse_json(text, str(path))
    if isinstance(content, list) and all(isinstance(symbol, str) for symbol in content):
        return tuple(content)
    if isinstance(content, dict):
        # Hugging Face's, whose blank is called padding and is usually the first.
        return from_huggingface(from_index(content, str(path)), 0, None)
    raise CheckpointError(f"{path}: not a vocabulary: a list of symbols or {{symbol: number}} was expected")


def read_small_text(path: Path) -> str:
    """Read a description: UTF-8, 16 MiB at most.

    Raises:
        CheckpointError: When it is missing, larger, or not text.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes; the limit for a description is {_MAX_BYTES}")
        instead = impostor(path)
        if instead is not None:
            raise CheckpointError(f"{path}: this is {instead}")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{path}: not UTF-8 text (byte {error.start}); if it is UTF-16, convert it: iconv -f utf-16 -t utf-8"
        ) from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        CheckpointError: When it cannot be read, or holds something else.
    """
    content = parse_json(read_small_text(path), str(path))
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a mapping")
    return content


def check_symbols(symbols: Sequence[str], source: str) -> None:
    """Refuse symbols that no file and no terminal could write.

    Raises:
        CheckpointError: Naming the first.
    """
    for number, symbol in enumerate(symbols):
        if not symbol:
            raise CheckpointError(f"{source}: symbol {number} is empty; no text could be written with it")
        if any(0xD800 <= ord(character) <= 0xDFFF for character in symbol):
            raise CheckpointError(f"{source}: symbol {number}, {symbol!a}, is half of a character (a lone surrogate)")


def parse_json(text: str, source: str) -> Any:
    """Parse JSON.

    Raises:
        CheckpointError: When it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{source}: not JSON ({str(error)[:100]}); truncated or damaged") from None


def check_recogniser(symbols: Sequence[str], source: str) -> None:
    """Refuse symbols that no transcript could be decoded with.

    Raises:
        CheckpointError: The blank is not output 0 under our name, or nothing ends a word.
    """
    if symbols[0] != BLANK:
        raise CheckpointError(
            f"{source}: output 0 is {symbols[0]!r}; it must be the CTC blank, {BLANK!r} in a list of symbols and in a "
            "fairseq dictionary: give the right symbols with --vocabulary"
        )
    if WORD_DELIMITER not in symbols and not are_tokens(symbols):
        raise CheckpointError(
            f"{source}: no symbol ends a word ({WORD_DELIMITER!r}); words could not be told apart: give the right "
            "symbols with --vocabulary"
        )
