"""The sentences that a language model is made of, written as a recogniser writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from w2v2_ray.data.mixture import open_mixture
from w2v2_ray.data.text import Tokenizer
from w2v2_ray.errors import DatasetError
from w2v2_ray.impostors import impostor

_TEXT = ".txt"


class Sentences:
    """Words of every text, normalised; counts what cannot be spelt.

    Args:
        tokenizer: The recogniser's.
        texts: Paths or URIs of datasets, and `.txt` files of one sentence a line.

    Attributes:
        left_out: Sentences so far that the symbols do not spell.
    """

    def __init__(self, tokenizer: Tokenizer, texts: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._texts = texts
        self.left_out = 0

    def __iter__(self) -> Iterator[list[str]]:
        for text in self._texts:
            for sentence in _lines(Path(text)) if text.lower().endswith(_TEXT) else _transcripts(text):
                written = self._tokenizer.normalise(sentence)
                if written is None:
                    self.left_out += 1
                elif written:
                    yield written.split()


def _transcripts(uri: str) -> Iterator[str]:
    data = open_mixture([(uri, 1)], verify="sizes")
    for index in range(len(data)):
        yield data.transcript(index) or ""


def _lines(path: Path) -> Iterator[str]:
    instead = impostor(path)
    if instead is not None:
        raise DatasetError(f"{path}: this is {instead}, not a text of one sentence a line")
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from file
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text (byte {error.start}); convert it") from None
