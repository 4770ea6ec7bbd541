"""Word and character errors of a recogniser: totals, by speaker, the worst utterances, what is confused with what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import jiwer

_WORST = 20
_CONFUSIONS = 25
_NOTHING = "∅"


@dataclass(frozen=True)
class Scored:
    """One utterance that was judged.

    Attributes:
        id: Its name.
        speaker: Who spoke, where known.
        reference: What was said, normalised; not empty.
        hypothesis: What was understood.
        note: Why it cannot be understood, where its audio is silent or saturated.
    """

    id: str
    speaker: str | None
    reference: str
    hypothesis: str
    note: str | None = None


@dataclass
class Errors:
    """Counts of an alignment (Levenshtein; jiwer)."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def total(self) -> int:
        """All errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference(self) -> int:
        """Length of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors for each unit of the reference; may exceed 1."""
        return self.total / self.reference if self.reference else 0.0

    def add(self, output: jiwer.WordOutput | jiwer.CharacterOutput) -> None:
        """Add an alignment's counts."""
        self.hits += output.hits
        self.substitutions += output.substitutions
        self.deletions += output.deletions
        self.insertions += output.insertions

    def as_dict(self) -> dict[str, Any]:
        """For reports."""
        return {"rate": self.rate, "errors": self.total, "reference": self.reference, **asdict(self)}


@dataclass(frozen=True)
class Scores:
    """The errors of a dataset.

    Attributes:
        words: Totals in words.
        characters: Totals in characters, spaces included.
        by_speaker: Word errors of each speaker.
        utterances: Every utterance with its word errors, the worst first.
        confused_words: (said, understood, times), the most frequent first; one of the two may be nothing.
        confused_characters: The same for characters.
    """

    words: Errors
    characters: Errors
    by_speaker: dict[str, Errors]
    utterances: tuple[tuple[Scored, Errors], ...]
    confused_words: tuple[tuple[str, str, int], ...]
    confused_characters: tuple[tuple[str, str, int], ...]

    @property
    def worst(self) -> tuple[tuple[Scored, Errors], ...]:
        """Utterances with the most word errors."""
        return tuple(entry for entry in self.utterances[:_WORST] if entry[1].total)


def score(utterances: Iterable[Scored]) -> Scores:
    """Judge utterances."""
    words, characters = Errors(), Errors()
    speakers: dict[str, Errors] = {}
    judged: list[tuple[Scored, Errors]] = []
    word_pairs: Counter[tuple[str, str]] = Counter()
    character_pairs: Counter[tuple[str, str]] = Counter()
    for utterance in utterances:
        by_word = jiwer.process_words(utterance.reference, utterance.hypothesis)
        by_character = jiwer.process_characters(utterance.reference, utterance.hypothesis)
        own = Errors()
        own.add(by_word)
        words.add(by_word)
        characters.add(by_character)
        speakers.setdefault(utterance.speaker or "unknown", Errors()).add(by_word)
        judged.append((utterance, own))
        word_pairs.update(_confusions(by_word))
        character_pairs.update(_confusions(by_character))
    judged.sort(key=lambda entry: (-entry[1].total, -entry[1].rate, entry[0].id, entry[0].hypothesis))
    return Scores(
        words,
        characters,
        dict(sorted(speakers.items(), key=lambda item: (-item[1].rate, item[0]))),
        tuple(judged),
        _most_common(word_pairs),
        _most_common(character_pairs),
    )


def _most_common(pairs: Counter[tuple[str, str]]) -> tuple[tuple[str, str, int], ...]:
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return tuple((said, understood, times) for (said, understood), times in ordered[:_CONFUSIONS])


def _confusions(output: jiwer.WordOutput | jiwer.CharacterOutput) -> Iterable[tuple[str, str]]:
    """What stood where, for every error; jiwer's runs of errors are taken apart."""
    reference, hypothesis = output.references[0], output.hypotheses[0]
    for chunk in output.alignments[0]:
        if chunk.type == "equal":
            continue
        said = list(reference[chunk.ref_start_idx : chunk.ref_end_idx])
        understood = list(hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx])
        width = max(len(said), len(understood))
        said += [_NOTHING] * (width - len(said))
        understood += [_NOTHING] * (width - len(understood))
        yield from zip(said, understood, strict=True)
