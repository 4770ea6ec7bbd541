"""Job specs with odd values, keys and options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from odd.attempt import Attempt, Recipe, pick
from odd.spec_files import attempt, base, block, flow, put, random_field, random_job, scalar
from odd.workbench import Workbench

_NEVER = object()
_PLACE = "8765432100"
"""A number that stands for what is put in its place in the text."""


def _spelt(field_type: str, rng: np.random.Generator) -> tuple[str, Any, bool]:
    """A number as somebody may write it: its text, what it means, and whether it must be taken."""
    whole: list[tuple[str, Any, bool]] = [
        ("4000", 4000, True),
        ("4_000", 4000, False),
        ("+4000", 4000, False),
        ("0xFA0", 4000, False),
        ("0o7640", 4000, False),
        ("04000", 4000, False),
        ("4e3", 4000, False),
        ("4000.0", 4000, False),
        ("'4000'", 4000, False),
        ("!!int 4000", 4000, False),
        ("4000\t", 4000, False),
        ("4000   # as published", 4000, True),
        ("4000.5", _NEVER, False),
        ("1:30:00", _NEVER, False),
        ("4000k", _NEVER, False),
        ("4k", _NEVER, False),
        ("1" * 40, int("1" * 40), False),
        ("9" * 5_000, _NEVER, False),
        ("-9223372036854775809", _NEVER, False),
        ("&a 4000", 4000, False),
    ]
    fraction: list[tuple[str, Any, bool]] = [
        ("0.5", 0.5, True),
        (".5", 0.5, False),
        ("5e-1", 0.5, True),
        ("5E-1", 0.5, True),
        ("+0.5", 0.5, False),
        ("0.5e0", 0.5, True),
        ("0.50000000000000000000000000001", 0.5, True),
        ("0_0.5", 0.5, False),
        ("'0.5'", 0.5, False),
        ("0,5", _NEVER, False),
        ("50%", _NEVER, False),
        ("1/2", _NEVER, False),
        ("1e400", _NEVER, False),
        ("-1e400", _NEVER, False),
        ("0.5.0", _NEVER, False),
        ("0.5f", _NEVER, False),
        ("!!float 0.5", 0.5, False),
    ]
    neither: list[tuple[str, Any, bool]] = [
        *((text, _NEVER, False) for text in (".nan", ".inf", "-.inf", "NaN", "inf", "''", '"', "yes", "true", "many")),
        *(
            (text, _NEVER, False)
            for text in (
                "[4000]",
                "{a: 1}",
                "-4000",
                "٤٠٠٠",
                "\uff14\uff10\uff10\uff10",
                "½",
                "4 000",
                "4,000",
                "\u00a04000",
            )
        ),
        *(
            (text, _NEVER, False)
            for text in ("4000\u200b", "\u22124000", "0b", "0x", "--4", "4-", "@4", "`4`", "%4", "*a", "|\n", "? 4")
        ),
    ]
    choices = (whole if field_type == "int" else fraction) + neither
    return choices[int(rng.integers(len(choices)))]


def _numbers(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    field = random_field(rng, "int float")
    wide = {
        "int": ("updates", "data.cache_bytes", "checkpoint.every_updates"),
        "float": ("optim.lr", "optim.clip_norm"),
    }
    path = pick(rng, wide[field.type])
    text, meant, must = _spelt(field.type, rng)
    document = put(random_job(rng, folder, bench, 3), path, int(_PLACE))
    content = block(document).replace(_PLACE, text)
    resolved = None if meant is _NEVER else put(document, path, meant)
    return attempt(f"{path}: {text[:30]!r}", folder, content, resolved, must=must)


def _null(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Null where a number is wanted, and where it means something."""
    field = random_field(rng)
    path = pick(
        rng, (field.path, "checkpoint.milestone_updates", "optim.clip_norm", "data.cache_dir", "logging.mlflow")
    )
    text = pick(rng, ("null", "~", "", "NULL", "Null"))
    optional = path in ("checkpoint.milestone_updates", "optim.clip_norm", "data.cache_dir", "logging.mlflow")
    document = put(random_job(rng, folder, bench, 0), path, int(_PLACE))
    resolved = put(document, path, None) if optional else None
    naming = () if optional else (re.escape(path.rpartition(".")[2]),)
    return attempt(
        f"{path}: {text!r}", folder, block(document).replace(_PLACE, text), resolved, must=optional, naming=naming
    )


def _truths(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    field = random_field(rng, "bool")
    text = pick(
        rng,
        ("true", "True", "TRUE", "false", "yes", "no", "on", "off", "y", "1", "0", "'true'", "null", "tru\u0435", "[]"),
    )
    # YAML 1.2 knows two words for them; whoever takes others must take them as they are meant.
    words = {True: "true True TRUE yes on y 1 'true'", False: "false no off 0"}
    meant = next((value for value, spelt in words.items() if text in spelt.split()), None)
    document = put(random_job(rng, folder, bench, 2), field.path, int(_PLACE))
    resolved = None if meant is None else put(document, field.path, meant)
    naming = (re.escape(field.path.rpartition(".")[2]),)
    content = block(document).replace(_PLACE, text)
    return attempt(f"{field.path}: {text}", folder, content, resolved, must=text in ("true", "false"), naming=naming)


def _wrong_type(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A value of another type, somewhere in a job that is in order."""
    field = random_field(rng)
    values: list[Any] = ["text", [1, 2], {"a": 1}, [], {}, [[[]]], "", "\U0001f600", "a" * 3_000, {"updates": 1}]
    if field.type != "bool":
        values += [True, -1.5, float("1e300") if field.type == "int" else "1e300x"]
    value = values[int(rng.integers(len(values)))]
    document = put(random_job(rng, folder, bench, 3), field.path, value)
    naming = (re.escape(field.path.rpartition(".")[2]),)
    return attempt(f"{field.path}: {str(value)[:30]}", folder, block(document), None, naming=naming)


def _unknown_key(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A key with a letter too few, too many, or another one: named, wherever it stands."""
    field = random_field(rng)
    *parents, key = field.path.split(".")
    position = int(rng.integers(1, len(key)))
    spoilt = {
        "a letter missing": key[:position] + key[position + 1 :],
        "a letter twice": key[:position] + key[position - 1] + key[position:],
        "another letter": key[:position] + "q" + key[position + 1 :],
        "capitals": key.upper(),
        "a dash": key.replace("_", "-") if "_" in key else f"{key}-",
        "a letter of another alphabet": key.replace("e", "\u0435").replace("a", "\u0430").replace("o", "\u043e"),
        "an invisible letter": f"{key}\u200b",
        "a no-break space": f"{key}\u00a0",
    }
    what = pick(rng, list(spoilt))
    name = spoilt[what]
    document = put(random_job(rng, folder, bench, 3), ".".join([*parents, name]), field.value(rng))
    naming = (r"unknown key", re.escape(name[:2]))
    must = name == key
    return attempt(
        f"key {name!r} ({what})", folder, block(document), document if must else None, must=must, naming=naming
    )


def _twice(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A key written twice, however it is written."""
    field = random_field(rng)
    document = put(base(folder, bench), field.path, field.value(rng))
    again = scalar(field.value(rng))
    *parents, key = field.path.split(".")
    spelt = pick(rng, (key, f'"{key}"', f"'{key}'", f"? {key}\n" + " " * (2 * len(parents))))
    line = " " * (2 * len(parents)) + f"{spelt}: {again}\n"
    lines = block(document).splitlines(keepends=True)
    place = next(
        i
        for i, text in enumerate(lines)
        if text.strip().startswith(f"{key}:") and text.startswith(" " * (2 * len(parents)) + key)
    )
    lines.insert(place + 1, line)
    return attempt(f"{field.path} twice, as {spelt!r}", folder, "".join(lines), None, naming=(key,))


def _options(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """`--set` in forms that shells and people make of it."""
    field = random_field(rng)
    document = random_job(rng, folder, bench, 3)
    value, other = field.value(rng), field.value(rng)
    text, path = scalar(value), field.path
    meant = put(document, path, value)
    forms: dict[str, tuple[list[str], Any, bool]] = {
        "as it should be": ([f"{path}={text}"], meant, True),
        "the last one wins": ([f"{path}={scalar(other)}", f"{path}={text}"], meant, True),
        "spaces around": ([f" {path} = {text} "], meant, False),
        "quotes that the shell left": ([f"'{path}={text}'"], None, False),
        "a quoted value": ([f'{path}="{text}"'], meant if field.type in ("str", "bool") else None, False),
        "no value": ([f"{path}="], put(document, path, None), False),
        "no equals sign": ([path], None, False),
        "a colon": ([f"{path}: {text}"], None, False),
        "a leading dot": ([f".{path}={text}"], None, False),
        "two dots": ([f"{path.replace('.', '..') if '.' in path else path + '.'}={text}"], None, False),
        "a slash": ([f"{path.replace('.', '/') if '.' in path else '/' + path}={text}"], None, False),
        "an equals sign more": ([f"{path}=={text}"], None, False),
        "two in one": ([f"{path}={text},seed=5"], None, False),
        "nothing": ([""], None, False),
        "an index": ([f"{path}.0={text}"], None, False),
        "an index below 0": ([f"data.train.-1.repeat={text}"], None, False),
        "a mapping": (["optim={lr: 0.5}"], put(document, "optim.lr", 0.5), False),
        "a path through a number": ([f"updates.x={text}"], None, False),
        "a line break": ([f"{path}={text}\nseed: 4"], None, False),
        "a byte-order mark": ([f"\ufeff{path}={text}"], meant, False),
        "deep": (["a." * 5_000 + "b=1"], None, False),
        "deep brackets": ([f"{path}={'[' * 20_000}"], None, False),
        "a zero-width space": ([f"{path}\u200b={text}"], None, False),
        "an entry of data": (["data.train.0.repeat=3"], None, False),
    }
    what = pick(rng, list(forms))
    given, resolved, must = forms[what]
    if what == "no value" and path == "optim.clip_norm":
        resolved = put(document, path, None)
    elif what == "no value":
        resolved = None
    if what == "an entry of data":
        resolved = put(document, "data.train", [{"path": str(bench.dataset), "repeat": 3}])
    options = [part for one in given for part in ("--set", one)]
    return attempt(
        f"--set with {what}: {given[-1][:50]!r}", folder, block(document), resolved, must=must, options=options
    )


def _names(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Names of runs, which become folders."""
    name = pick(
        rng,
        (
            "ok-1.2_x",
            "A" * 128,
            "A" * 129,
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a b",
            "naïve",
            "x\n",
            "7",
            "con",
            "-x",
            "a\0b",
            "\U0001f600",
            "x\u200b",
            "~",
            "null",
            "1e3",
        ),
    )
    document = {**base(folder, bench), "name": name}
    quoted = '"' + name.replace("\\", "\\\\").replace("\n", "\\n").replace("\0", "\\0") + '"'
    content = block({**document, "name": int(_PLACE)}).replace(_PLACE, quoted)
    fine = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name) is not None and not name.endswith("\n")
    return attempt(
        f"name: {name[:20]!r}", folder, content, document if fine else None, must=fine, naming=() if fine else ("name",)
    )


def _places(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Datasets and storage that are not there, or no paths at all: refused, whatever else the job says."""
    path = pick(rng, ("data.train", "data.validation"))
    value: Any = pick(
        rng,
        (
            "nowhere",
            "/dev/null",
            "/proc/1/mem",
            "",
            " ",
            "\u200b",
            "a\nb",
            "x" * 5_000,
            "~nobody/x",
            "number",
            "list",
            "twice",
        ),
    )
    value = {"number": 3, "list": [["a"]], "twice": [{"path": str(bench.dataset), "paht": "x"}]}.get(value, value)
    document = put(random_job(rng, folder, bench, 2), path, value)
    # What a path leads to is looked at where it can be; a job for another machine cannot be refused for it.
    options = ("--check-data",)
    return attempt(f"{path}: {str(value)[:30]!r}", folder, flow(document), None, options=options)


RECIPES: tuple[Recipe, ...] = (
    _numbers,
    _options,
    _wrong_type,
    _unknown_key,
    _numbers,
    _truths,
    _twice,
    _null,
    _names,
    _places,
)
