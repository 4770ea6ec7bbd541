"""Which symbol each output of a Hugging Face recogniser stands for: vocabulary, added tokens, special tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop import vocabulary
from w2v2_ray.spec.symbols import BLANK, UNKNOWN, WORD_DELIMITER

VOCABULARY = "vocab.json"
TOKENIZER = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
FAST_TOKENIZER = "tokenizer.json"
_PAD, _END = "<pad>", "</s>"


@dataclass(frozen=True)
class TokenTable:
    """The outputs of a recogniser, as its folder describes them.

    Attributes:
        symbols: Under Hugging Face's names, in the order of its outputs.
        blank: Output that is the CTC blank.
        names: Those that have another name here.
        notes: What the user should know.
    """

    symbols: tuple[str, ...]
    blank: int
    names: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def ours(self) -> tuple[str, ...]:
        """The symbols under our names, the blank first."""
        order = vocabulary.blank_first(len(self.symbols), self.blank)
        return tuple(self.names.get(self.symbols[index], self.symbols[index]) for index in order)


def read_tokens(folder: Path, outputs: int, config_blank: int) -> TokenTable | None:
    """Read the tokenizer's files of a folder; None when there are none.

    As transformers does it, the symbol of the tokenizer's `pad_token` is the blank.

    Args:
        folder: Holds them.
        outputs: Of the head.
        config_blank: `pad_token_id` of `config.json`.

    Raises:
        CheckpointError: When they do not describe a recogniser that can be used here.
    """
    settings = {**_optional(folder / SPECIAL_TOKENS), **_optional(folder / TOKENIZER)}
    index = _index_of(folder, settings)
    if index is None:
        return None
    symbols, notes = _ordered(folder, index, outputs)
    special = {key: token_text(settings.get(key)) for key in ("pad_token", "unk_token", "bos_token", "eos_token")}
    blank = config_blank
    pad = special["pad_token"]
    if pad in symbols:
        blank = symbols.index(pad)
        if blank != config_blank:
            notes.append(
                f"config.json says that output {config_blank} ({symbols[config_blank]!r}) is the blank, the tokenizer "
                f"{blank} ({pad!r}): the tokenizer's is taken, as transformers decodes"
            )
    delimiter = token_text(settings.get("word_delimiter_token")) or WORD_DELIMITER
    # Of a phone recogniser none does: every symbol stands alone.
    if delimiter not in symbols and not any(len(symbol) > 1 and symbol not in special.values() for symbol in symbols):
        raise CheckpointError(
            f"{folder}: none of its outputs ends a word (word_delimiter_token {delimiter!r} is not in the vocabulary); "
            "words could not be told apart: give a vocabulary with `|` by --vocabulary"
        )
    if settings.get("do_lower_case"):
        notes.append("its tokenizer writes transcripts in lower case (do_lower_case); here they have the vocabulary's")
    return TokenTable(symbols, blank, _names(symbols, blank, delimiter, special), tuple(notes))


def token_text(value: Any) -> str | None:
    """A token as text; `save_pretrained` may write an object with its properties."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None


def _names(
    symbols: tuple[str, ...], blank: int, delimiter: str, special: Mapping[str, str | None]
) -> Mapping[str, str]:
    """Our names of the symbols that have another one there; each of ours is given once."""
    names = {symbols[blank]: BLANK, delimiter: WORD_DELIMITER}
    wanted = (
        (BLANK, _PAD),
        (special["bos_token"], _PAD),
        (special["eos_token"], _END),
        (special["unk_token"], UNKNOWN),
    )
    for theirs, ours in wanted:
        taken = {*names.values()} | {symbol for symbol in symbols if symbol not in names}
        if theirs in symbols and theirs not in names and ours not in taken - {theirs}:
            names[theirs] = ours
    return names


def _index_of(folder: Path, settings: Mapping[str, Any]) -> dict[str, int] | None:
    """Output of each symbol, added tokens included."""
    index = _optional(folder / VOCABULARY) if (folder / VOCABULARY).exists() else _fast(folder)
    if index is None:
        return None
    language = settings.get("target_lang")
    if isinstance(language, str) and isinstance(index.get(language), dict):
        index = index[language]
    source = str(folder / VOCABULARY)
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in index.values()):
        raise CheckpointError(
            f"{source}: not a vocabulary ({{symbol: number}}); vocabularies per language are not read, unless "
            f"target_lang in {TOKENIZER} names one: give that language's own by --vocabulary"
        )
    added = _optional(folder / ADDED_TOKENS)
    decoder = settings.get("added_tokens_decoder")
    for number, token in (decoder if isinstance(decoder, dict) else {}).items():
        text = token_text(token)
        if text is not None and str(number).isdecimal():
            added.setdefault(text, int(number))
    for text, number in added.items():
        if isinstance(number, int) and text not in index:
            index[text] = number
    return index


def _fast(folder: Path) -> dict[str, Any] | None:
    """The vocabulary of a `tokenizer.json`, where that is all there is."""
    content = _optional(folder / FAST_TOKENIZER)
    model = content.get("model")
    index = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(index, dict):
        return None
    tokens = content.get("added_tokens")
    added = {
        str(token.get("content")): token.get("id")
        for token in tokens or ()
        if isinstance(token, dict) and "id" in token
    }
    return {**index, **added}


def _ordered(folder: Path, index: Mapping[str, int], outputs: int) -> tuple[tuple[str, ...], list[str]]:
    """Symbols of the outputs; tokens beyond them, which the head never says, are left out."""
    beyond = sorted(text for text, number in index.items() if number >= outputs)
    kept = {text: number for text, number in index.items() if number < outputs}
    if len(kept) != outputs or sorted(kept.values()) != list(range(outputs)):
        raise CheckpointError(
            f"{folder}: {len(kept)} symbols in the vocabulary for {outputs} outputs (numbers "
            f"{min(index.values(), default=0)} to {max(index.values(), default=0)}, added tokens included); the head "
            "and the tokenizer do not belong together: give the right one by --vocabulary"
        )
    notes = [f"tokens that are no output of the head are left out: {' '.join(beyond)}"] if beyond else []
    return tuple(sorted(kept, key=lambda text: kept[text])), notes


def _optional(path: Path) -> dict[str, Any]:
    return vocabulary.read_json_object(path) if path.exists() else {}
