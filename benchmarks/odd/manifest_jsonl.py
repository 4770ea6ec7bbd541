"""JSON lines with keys, numbers, paths and encodings as people write them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from odd.attempt import Attempt, Recipe, pick
from odd.listing import Listing, Utterance, attempt, corpus, recording, whole
from odd.workbench import Workbench

_AUDIO_KEYS = ("audio_filepath", "audio_filename", "audio", "path", "file_name", "wav", "audio_path", "file")
_TEXT_KEYS = ("text", "transcription", "sentence", "transcript", "normalized_text")
_RARE_TEXT_KEYS = ("asr_label", "raw_text", "utterance_text", "target_text", "orthographic", "verbatim")


def _entries(
    utterances: Sequence[Utterance], audio: str = "audio_filepath", text: str = "text"
) -> list[dict[str, Any]]:
    return [{audio: u.file, text: u.text} for u in utterances]


def _dump(entries: Sequence[Any]) -> str:
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def _keys(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    utterances = corpus(rng, folder)
    audio, rare = pick(rng, _AUDIO_KEYS), rng.uniform() < 0.35
    text = pick(rng, _RARE_TEXT_KEYS if rare else _TEXT_KEYS)
    entries = _entries(utterances, audio, text)
    if rng.uniform() < 0.3:
        entries = [
            {"id": f"n{i}", "lang": "en", "duration": u.seconds, **e}
            for i, (u, e) in enumerate(zip(utterances, entries, strict=True))
        ]
    (folder / "list.jsonl").write_text(_dump(entries))
    usual = not rare and text != "normalized_text" and audio in _AUDIO_KEYS[:5]
    listing = Listing(utterances, must=usual, told_by=(rf"\b{text}\b",) if rare else ())
    return attempt(f"jsonl with {audio} and {text}", "list.jsonl", listing, folder)


def _mixed_keys(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Lists that were joined: some lines under one key, some under another."""
    utterances = corpus(rng, folder, 4)
    keys = [pick(rng, (*_TEXT_KEYS, *_RARE_TEXT_KEYS)) for _ in utterances]
    entries = [{"audio_filepath": u.file, key: u.text} for u, key in zip(utterances, keys, strict=True)]
    (folder / "list.jsonl").write_text(_dump(entries))
    rare = tuple(rf"\b{key}\b" for key in keys if key in _RARE_TEXT_KEYS)
    listing = Listing(utterances, must=not rare and "normalized_text" not in keys, told_by=rare)
    return attempt(f"jsonl with {', '.join(keys)}", "list.jsonl", listing, folder)


def _encodings(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    utterances = corpus(rng, folder)
    text = _dump(_entries(utterances))
    ascii_text = "".join(json.dumps(entry) + "\n" for entry in _entries(utterances))
    contents: dict[str, tuple[bytes, bool]] = {
        "a byte-order mark": (b"\xef\xbb\xbf" + text.encode(), True),
        "CRLF": (text.replace("\n", "\r\n").encode(), True),
        "CR alone": (text.replace("\n", "\r").encode(), False),
        "UTF-16 with a mark": (text.encode("utf-16"), False),
        "UTF-16 without one": (text.encode("utf-16-le"), False),
        "Latin-1": (text.encode("latin-1", "xmlcharrefreplace").replace(b"&#", b"\xe9&#"), False),
        "escaped letters": (ascii_text.encode(), True),
        "blank lines": (b"\n" + text.replace("\n", "\n\n  \n").encode(), True),
        "no last newline": (text.rstrip("\n").encode(), True),
        "a form feed": (b"\f" + text.encode(), False),
        "zeros at its end": (text.encode() + bytes(100), False),
        "a comment": (b"# a list\n" + text.encode(), False),
        "one array": (json.dumps(_entries(utterances), indent=1).encode(), False),
        "objects over several lines": (
            "\n".join(json.dumps(e, indent=1) for e in _entries(utterances)).encode(),
            False,
        ),
        "a comma after each line": (text.replace("}\n", "},\n").encode(), False),
        "quotes of Python": (text.replace('"', "'").encode(), False),
        "gzip": (gzip.compress(text.encode()), False),
        "a last line cut off": (text.encode()[: -1 - int(rng.integers(2, 12))], False),
    }
    what = pick(rng, list(contents))
    content, must = contents[what]
    name = pick(rng, ["list.jsonl", "list.json", "LIST.JSONL"]) if what != "gzip" else "list.jsonl.gz"
    (folder / name).write_bytes(content)
    return attempt(f"{name} with {what}", name, Listing(utterances, must=must and name == "list.jsonl"), folder)


def _durations(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A duration, and no offset: what is said is said in the first so many seconds."""
    parts = recording(rng, folder / "long.wav", 2)
    everything = whole(parts)
    first: tuple[Any, Utterance, bool] = (0.6, parts[0], False)
    cases: dict[str, tuple[Any, Utterance, bool]] = {
        "of the first half": first,
        "of the first half, as text": ("0.6", parts[0], False),
        "of all": (1.2, everything, True),
        "of all, rounded": (1.21, everything, True),
        "twice as long as it is": (2.4, everything, False),
        "in milliseconds": (1_200, everything, False),
        "in samples": (19_200, everything, False),
        "of nothing": (0, everything, False),
        "below nothing": (-0.6, everything, False),
        "that is null": (None, everything, True),
        "that is true": (True, everything, False),
        "of 1e308": (1e308, everything, False),
        "of 10**400": (10**400, everything, False),
        "in a list": ([0.6], parts[0], False),
        "as a time": ("00:00:00.6", parts[0], False),
    }
    what = pick(rng, ["of the first half", *cases])
    value, meant, must = cases[what]
    others = corpus(rng, folder, 2)
    entry = {"audio_filepath": "long.wav", "duration": value, "text": meant.text}
    (folder / "list.jsonl").write_text(_dump([entry, *_entries(others)]))
    listing = Listing((meant, *others), must=must)
    return attempt(f"jsonl with a duration {what}", "list.jsonl", listing, folder)


def _offsets(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Segments of a recording."""
    parts = recording(rng, folder / "long.wav", 3)
    starts = [0.0, 0.6, 1.2]
    forms: dict[str, list[dict[str, Any]]] = {
        "offset and duration": [{"offset": s, "duration": 0.6} for s in starts],
        "offsets as text": [{"offset": str(s), "duration": "0.6"} for s in starts],
        "start and end": [{"start": s, "end": s + 0.6} for s in starts],
        "start_time and end_time": [{"start_time": s, "end_time": s + 0.6} for s in starts],
        "begin and end": [{"begin": s, "end": s + 0.6} for s in starts],
        "offset_ms and duration_ms": [{"offset_ms": s * 1000, "duration_ms": 600} for s in starts],
        "start_sample and num_samples": [{"start_sample": round(s * 16e3), "num_samples": 9_600} for s in starts],
        "a last one beyond the end": [{"offset": s + 1.0 * (s > 1), "duration": 0.6} for s in starts],
        "a last one that reaches beyond the end": [{"offset": s, "duration": 0.6 + 2 * (s > 1)} for s in starts],
        "offset alone for the last": [*({"offset": s, "duration": 0.6} for s in starts[:2]), {"offset": 1.2}],
        "one below nothing": [{"offset": s - 0.1, "duration": 0.6} for s in starts],
        "null for the first": [{"offset": s or None, "duration": 0.6} for s in starts],
        "no offset for the first": [{"duration": 0.6}, *({"offset": s, "duration": 0.6} for s in starts[1:])],
        "in milliseconds": [{"offset": s * 1000, "duration": 600} for s in starts],
    }
    what = pick(rng, list(forms))
    entries = [{"audio_filepath": p.file, "text": p.text, **f} for p, f in zip(parts, forms[what], strict=True)]
    (folder / "list.jsonl").write_text(_dump(entries))
    must = what in ("offset and duration", "offset alone for the last", "no offset for the first", "null for the first")
    return attempt(f"jsonl segments: {what}", "list.jsonl", Listing(parts, must=must), folder)


def _values(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A value of a form that nobody expects, in one line of several."""
    utterances = corpus(rng, folder)
    entries = _entries(utterances)
    odd: dict[str, tuple[str, str]] = {
        "a text that is null": ("text", "null"),
        "an empty text": ("text", '""'),
        "a text of spaces": ("text", '"  \\t "'),
        "a text that is a number": ("text", "7"),
        "a text that is a list": ("text", '["A", "B"]'),
        "half a surrogate pair in the text": ("text", '"A \\ud83d B"'),
        "a zero in the text": ("text", '"A \\u0000 B"'),
        "a path that is null": ("audio_filepath", "null"),
        "an empty path": ("audio_filepath", '""'),
        "a path with a zero": ("audio_filepath", '"a\\u0000.wav"'),
        "a path with half a surrogate pair": ("audio_filepath", '"\\ud800.wav"'),
        "a path of 5000 letters": ("audio_filepath", json.dumps("x" * 5_000)),
        "a path to nothing": ("audio_filepath", '"nothing.wav"'),
        "a path to a folder": ("audio_filepath", '"."'),
        "a path above everything": ("audio_filepath", json.dumps("../" * 60 + "x.wav")),
        "a speaker that is a list": ("speaker", "[1, 2]"),
        "half a surrogate pair as speaker": ("speaker", '"\\udfff"'),
        "NaN as duration": ("duration", "NaN"),
        "Infinity as offset": ("offset", "-Infinity"),
        "brackets nested deeply": ("extra", "[" * 100_000 + "]" * 100_000),
        "a number of 5000 digits": ("extra", "9" * 5_000),
        "a number of 5000 digits as duration": ("duration", "9" * 5_000),
    }
    what = pick(rng, list(odd))
    key, value = odd[what]
    number = int(rng.integers(len(entries)))
    lines = _dump(entries).splitlines()
    kept = {name: entry for name, entry in entries[number].items() if name != key}
    lines[number] = json.dumps(kept)[:-1] + f', "{key}": {value}}}'
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n")
    spoilt = utterances[number]
    if key == "text":
        texts = {"a text that is a number": "7", "a zero in the text": "A \0 B"}
        spoilt = Utterance(spoilt.words, spoilt.seconds, texts.get(what), spoilt.file)
    told_by = ("text", "surrogate", "line", r":\d+:") if key == "text" and "empty" not in what else ()
    utterances = (*utterances[:number], spoilt, *utterances[number + 1 :])
    return attempt(f"jsonl with {what}", "list.jsonl", Listing(utterances, told_by=told_by), folder)


def _lines(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A line that is no entry."""
    utterances = corpus(rng, folder)
    lines = _dump(_entries(utterances)).splitlines()
    what = pick(
        rng, ["[1, 2]", '"text"', "7", "null", "{}", "{", "}", "NaN", "// comment", '{"text": "A"}', "\x00", "…"]
    )
    lines.insert(int(rng.integers(len(lines) + 1)), what)
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n")
    return attempt(f"jsonl with the line {what!r}", "list.jsonl", Listing(utterances), folder)


def _twice(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """The same audio twice: with one text that is a repetition, with two it is a contradiction."""
    utterances = corpus(rng, folder)
    same = rng.uniform() < 0.4
    again = utterances[0] if same else Utterance(utterances[0].words, utterances[0].seconds, "OTHER WORDS", "u0.wav")
    key = pick(rng, ["u0.wav", "./u0.wav", str(folder / "u0.wav")])
    entries = [*_entries(utterances), {"audio_filepath": key, "text": again.text}]
    (folder / "list.jsonl").write_text(_dump(entries))
    told_by = (
        r"twice",
        r"again",
        r"different t",
        r"duplicate",
        r"same audio",
        r"two t",
        r"another t",
        r"more than once",
    )
    listing = Listing(utterances if same else (*utterances, again), told_by=told_by, contradicts=not same)
    return attempt(
        f"jsonl that names {key} twice, {'one text' if same else 'two texts'}", "list.jsonl", listing, folder
    )


def _paths(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Paths as other systems and scripts write them."""
    inner = pick(rng, ["part one", "ünï", "a.b", "x" * 100])
    utterances = corpus(rng, folder / inner)
    forms: dict[str, tuple[Callable[[str], str], bool]] = {
        "relative": (lambda name: f"{inner}/{name}", True),
        "absolute": (lambda name: str(folder / inner / name), True),
        "through the parent": (lambda name: f"../{folder.name}/{inner}/{name}", True),
        "with dots and doubled slashes": (lambda name: f".//{inner}/./{name}", True),
        "with backslashes": (lambda name: f"{inner}\\{name}", False),
        "as a URI": (lambda name: (folder / inner / name).as_uri(), False),
        "with spaces around": (lambda name: f" {inner}/{name} ", False),
        "of another machine": (lambda name: f"/home/nobody/{inner}/{name}", False),
    }
    what = pick(rng, list(forms))
    form, must = forms[what]
    entries = [{"audio_filepath": form(u.file), "text": u.text} for u in utterances]
    (folder / "list.jsonl").write_text(_dump(entries))
    return attempt(f"jsonl with paths {what}", "list.jsonl", Listing(utterances, must=must), folder)


RECIPES: tuple[Recipe, ...] = (_keys, _durations, _offsets, _encodings, _values, _mixed_keys, _twice, _paths, _lines)
