"""Sentences for synthesised speech: a small grammar over a few hundred words."""

from __future__ import annotations

import zlib

import numpy as np


def _words(text: str) -> tuple[str, ...]:
    """Phrases of a table below, which `,` parts."""
    return tuple(phrase.strip() for phrase in text.split(","))


_PEOPLE = _words(
    "the teacher, my sister, the old farmer, a young doctor, the captain, our neighbour, the painter, a quiet "
    "child, the baker, her brother, the engineer, a tall woman, the driver, his uncle, the singer, a stranger, "
    "the gardener, your friend, the judge, a tired soldier, the student, their mother, the sailor, a clever boy, "
    "the king, the nurse, a small girl, the writer"
)
_THINGS = _words(
    "the river, a wooden chair, the blue door, an empty bottle, the heavy box, a silver ring, the garden wall, an "
    "orange, the morning paper, a broken clock, the kitchen table, a long letter, the green hat, a paper boat, "
    "the window, an old map, the white horse, a bag of apples, the red bicycle, a glass of water, the yellow "
    "house, a piece of bread, the stone bridge, a warm coat, the last train, a bright lamp, the front page, a "
    "pair of shoes, the small dog, a cup of coffee, the big tree, a box of matches, the new song, an honest "
    "answer, the iron gate, a fresh egg, the school book, a hidden path"
)
_ACTIONS = _words(
    "found, carried, painted, forgot, opened, wanted, watched, bought, sold, lost, touched, followed, remembered, "
    "moved, described, cleaned, dropped, hid, fixed, returned, noticed, covered, counted, kept, brought, left, "
    "showed, borrowed, chose, offered"
)
_MOTIONS = _words(
    "walked, ran, travelled, went, hurried, drove, came back, sailed, climbed, marched, jumped, flew, turned, "
    "moved, swam"
)
_PLACES = _words(
    "to the market, across the field, near the lake, behind the church, over the hill, through the forest, along "
    "the road, into the valley, under the bridge, beside the fire, around the corner, towards the city, from the "
    "station, past the mill, down the stairs, up the mountain, inside the tower, at the harbour, between the "
    "houses, by the sea"
)
_TIMES = _words(
    "in the morning, last night, after dinner, on monday, before winter, every summer, at noon, yesterday, two "
    "days ago, during the storm, on friday evening, without a word, for the first time, once again, as usual, "
    "just in time, in april, late in september, at half past eight, by the end of june"
)
_MANNERS = _words(
    "slowly, quickly, quietly, gladly, carefully, suddenly, always, never, hardly, often, finally, secretly"
)
_JOINS = _words("and, but, because, while, so, then, although, until, when, before, after")
_UNITS = _words("one, two, three, four, five, six, seven, eight, nine")
_TEENS = _words("ten, eleven, twelve, thirteen, fourteen, fifteen, sixteen, seventeen, eighteen, nineteen")
_TENS = _words("twenty, thirty, forty, fifty, sixty, seventy, eighty, ninety")
_COUNTED = _words(
    "birds, boats, people, stones, letters, miles, horses, questions, pages, flowers, coins, windows, cars, ships"
)

_MAX_CLAUSES = 4
_HELD_OUT_OF = 8  # one sentence in so many is only ever in the held-out part


def draw_sentence(generator: np.random.Generator) -> str:
    """One sentence in lower case, clauses separated by commas."""
    first = _clause(generator)
    more = [f"{_pick(generator, _JOINS)} {_clause(generator)}" for _ in range(generator.integers(0, _MAX_CLAUSES))]
    return ", ".join([first, *more])


def transcript_of(sentence: str) -> str:
    """The transcript in LibriSpeech's form: upper case, no punctuation."""
    return sentence.replace(",", "").upper()


def is_held_out(sentence: str) -> bool:
    """Whether a sentence belongs to the held-out part; a property of its words, so that no seed mixes the parts."""
    return zlib.crc32(sentence.encode()) % _HELD_OUT_OF == 0


def vocabulary() -> frozenset[str]:
    """Every word that can occur."""
    phrases = (*_PEOPLE, *_THINGS, *_ACTIONS, *_MOTIONS, *_PLACES, *_TIMES, *_MANNERS, *_JOINS, *_COUNTED)
    return frozenset(word for phrase in (*phrases, *_UNITS, *_TEENS, *_TENS, "saw") for word in phrase.split())


def _clause(generator: np.random.Generator) -> str:
    subject, time = _pick(generator, _PEOPLE), _pick(generator, _TIMES)
    kind = int(generator.integers(0, 4))
    if kind == 0:
        return f"{subject} {_pick(generator, _ACTIONS)} {_pick(generator, _THINGS)} {time}"
    if kind == 1:
        manner = _pick(generator, _MANNERS)
        return f"{subject} {manner} {_pick(generator, _ACTIONS)} {_pick(generator, _THINGS)}"
    if kind == 2:
        return f"{subject} {_pick(generator, _MOTIONS)} {_pick(generator, _PLACES)} {time}"
    return f"{subject} saw {_number(generator)} {_pick(generator, _COUNTED)} {_pick(generator, _PLACES)}"


def _number(generator: np.random.Generator) -> str:
    value = int(generator.integers(2, 100))
    if value < 10:
        return _UNITS[value - 1]
    if value < 20:
        return _TEENS[value - 10]
    tens, units = divmod(value, 10)
    return f"{_TENS[tens - 2]} {_UNITS[units - 1]}" if units else _TENS[tens - 2]


def _pick(generator: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(generator.integers(0, len(words)))]
