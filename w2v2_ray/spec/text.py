"""How transcripts are written, and with which symbols."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from w2v2_ray.spec.base import Finding, Spec


class TextSpec(Spec):
    """How transcripts are written before the recogniser learns, or is judged by, them."""

    units: Literal["letters", "tokens"] = "letters"
    """What a symbol stands for: `letters` spells words; `tokens` takes what blanks part as it is, such as phones
    (`sh iy`) or words. Word errors are errors of tokens then: a phone error rate."""
    case: Literal["upper", "lower", "keep"] = "upper"
    """Letter case; published recognisers use upper."""
    replace: dict[str, str] = Field(default_factory=dict)
    """Strings replaced before anything else but Unicode normalisation (NFKC), such as typographic apostrophes."""
    allowed: str | None = Field(default=None, min_length=1)
    """Characters that transcripts may hold beside the space; null allows those of the vocabulary, or, where that is
    built from the transcripts, all that occur."""
    unknown: Literal["reject", "drop", "map"] = "reject"
    """What becomes of other characters: `reject` leaves the utterance out, with a count; `drop` removes the character;
    `map` makes it `<unk>`."""

    def identity(self) -> str:
        """What a run's result depends on, as it was before there were `units`."""
        return self.model_dump_json(exclude={"units"} if self.units == "letters" else None)

    def broken_rules(self) -> Iterator[Finding]:
        """Characters are those of letters."""
        if self.units == "tokens" and self.allowed is not None:
            yield Finding(
                "allowed lists characters, and units: tokens has none; give vocabulary.symbols instead",
                ("allowed", "units"),
            )


class VocabularySpec(Spec):
    """The recogniser's symbols. Neither field set: the characters of the normalised training transcripts."""

    path: str | None = None
    """A tokenizer file: our `vocabulary.json`, Hugging Face's `vocab.json` or fairseq's `dict.ltr.txt`."""
    symbols: tuple[str, ...] | None = Field(default=None, min_length=1)
    """The characters themselves; blank, word boundary and `<unk>` are added."""

    def broken_rules(self) -> Iterator[Finding]:
        """One source."""
        if self.path is not None and self.symbols is not None:
            yield Finding("path and symbols are both set; keep one of them", ("path", "symbols"))
