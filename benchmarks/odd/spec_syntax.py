"""Job specs in odd YAML: every style, every encoding, every structure, and one letter wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from odd.attempt import Attempt, Recipe, pick
from odd.spec_files import Document, attempt, base, block, flow, random_job
from odd.workbench import Workbench


def _styles(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    document = random_job(rng, folder, bench, 8)
    text = block(document)
    forms = {
        "block": text,
        "block, indented by 1": block(document, 1),
        "block, indented by 7": block(document, 7),
        "flow": flow(document),
        "JSON": json.dumps(document),
        "JSON, indented": json.dumps(document, indent=4),
        "document markers": f"---\n{text}...\n",
        "comments": "# a job\n" + text.replace("\n", "   # why\n") + "# the end",
        "blank lines": text.replace("\n", "\n\n   \n"),
        "quoted keys": "\n".join(_quoted_key(line) for line in text.splitlines()),
        "a directive": f"%YAML 1.2\n---\n{text}",
        "no last newline": text.rstrip("\n"),
        "keys of flow over lines": flow(document).replace(", ", ",\n  "),
    }
    what = pick(rng, list(forms))
    return attempt(f"YAML: {what}", folder, forms[what], document, must=True)


def _quoted_key(line: str) -> str:
    key, colon, rest = line.partition(":")
    spaces = len(key) - len(key.lstrip())
    return f'{" " * spaces}"{key.strip()}"{colon}{rest}'


def _encodings(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    document = random_job(rng, folder, bench)
    text = block(document)
    accented = text.replace("name: odd-run", "name: odd-run  # é ü")
    contents: dict[str, tuple[bytes, bool]] = {
        "a byte-order mark": (b"\xef\xbb\xbf" + text.encode(), True),
        "two byte-order marks": (b"\xef\xbb\xbf" * 2 + text.encode(), False),
        "CRLF": (text.replace("\n", "\r\n").encode(), True),
        "CR": (text.replace("\n", "\r").encode(), False),
        "UTF-16": (text.encode("utf-16"), False),
        "UTF-16 without a mark": (text.encode("utf-16-le"), False),
        "UTF-32": (text.encode("utf-32"), False),
        "Latin-1": (accented.encode("latin-1"), False),
        "accents in a comment": (accented.encode(), True),
        "zeros at its end": (text.encode() + bytes(10), False),
        "a zero inside": (text.replace("odd-run", "odd\0run").encode(), False),
        "an escape": (("\x1b[31m" + text).encode(), False),
        "a line separator": (text.replace("\n", "\u2028").encode(), False),
        "a form feed": (("\f" + text).encode(), False),
        "a no-break space for a space": (text.replace(": ", ":\u00a0", 3).encode(), False),
        "a tab after a colon": (text.replace(": ", ":\t").encode(), False),
        "tabs as indentation": (text.replace("\n  ", "\n\t").encode(), False),
        "typographic quotes": (text.replace("name: odd-run", "name: “odd-run”").encode(), False),
        "a heredoc's end": ((text + "EOF\n").encode(), False),
        "merge conflict marks": (("<<<<<<< HEAD\n" + text + "=======\n>>>>>>> other\n").encode(), False),
    }
    what = pick(rng, list(contents))
    content, must = contents[what]
    return attempt(f"YAML with {what}", folder, content, document, must=must)


def _structures(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Structures that YAML has and a job has not, or has, and too much of it."""
    document = base(folder, bench)
    text, depth = block(document), int(rng.choice([70, 400, 3_000, 30_000]))
    aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
    )
    forms: dict[str, tuple[str, Document | None]] = {
        "an anchor and its alias": (
            text + "seed: &n 5\nupdates: 4000\nlogging: {every_updates: *n}\n",
            {**document, "seed": 5, "logging": {"every_updates": 5}},
        ),
        "an alias of nothing": (text + "seed: *nothing\n", None),
        "an alias of itself": (text + "optim: &o {schedule: *o}\n", None),
        "aliases by the million": (aliases + text, None),
        "a merge key": ("x: &x {lr: 0.5}\n" + text + "optim: {<<: *x}\n", None),
        "a tag": (text + "seed: !!python/object/apply:os.getpid []\n", None),
        "a local tag": (text + "seed: !mine 5\n", None),
        "a binary value": (text + "seed: !!binary aGk=\n", None),
        "a set": (text + "optim: !!set {lr, eps}\n", None),
        "two documents": (text + "---\n" + text, None),
        "an empty document first": ("---\n---\n" + text, None),
        "a list of jobs": ("- " + text.replace("\n", "\n  ").rstrip() + "\n", None),
        "nothing": ("", None),
        "a comment alone": ("# nothing\n", None),
        "a word": ("job\n", None),
        "a number for a key": (text + "5: 6\n", None),
        "a list for a key": (text + "[a, b]: 6\n", None),
        "a mapping for a key": (text + "? {a: b}\n: 6\n", None),
        "an empty key": (text + ": 6\n", None),
        "null for a key": (text + "~: 6\n", None),
        "a bracket not closed": (text + "optim: {lr: 0.5\n", None),
        "a quote not closed": (text + 'storage_path: "runs\n', None),
        "a block text for a number": (text + "seed: |\n  5\n", None),
        "a folded text for a name": (text.replace("name: odd-run", "name: >\n  odd-run"), None),
        "a folded text without its end": (text.replace("name: odd-run", "name: >-\n  odd-run"), document),
        "brackets nested deeply": (text + "optim: " + "[" * depth + "]" * depth + "\n", None),
        "braces nested deeply": (text + "optim: " + "{a: " * depth + "1" + "}" * depth + "\n", None),
        "brackets left open": (text + "optim: " + "[" * depth + "\n", None),
        "indents nested deeply": (
            text + "optim:\n" + "".join(" " * (i + 1) + "a:\n" for i in range(min(depth, 400))),
            None,
        ),
        "dashes nested deeply": (text + "optim:\n  " + "- " * min(depth, 3_000) + "1\n", None),
        "a key of 100 000 letters": (text + "k" * 100_000 + ": 1\n", None),
        "a value of 150 000 letters": (text + "storage_path: " + "v" * 150_000 + "\n", None),
        "300 000 letters": (text + "# " + "c" * 300_000 + "\n", document),
        "10 000 unknown keys": (text + "".join(f"key_{i}: {i}\n" for i in range(10_000)), None),
        "10 000 datasets": (
            text.replace(f"train: {document['data']['train']}", "train: [" + "x, " * 10_000 + "]"),
            None,
        ),
    }
    what = pick(rng, list(forms))
    content, meant = forms[what]
    # Whether the datasets are there is not what is asked here.
    if what in ("10 000 datasets", "a value of 150 000 letters"):
        content += "loging: {}\n"
    return attempt(f"YAML: {what}", folder, content, meant)


def _one_letter(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """One letter of a job changed: what is still valid must mean what another reader of YAML reads."""
    text = list(block(random_job(rng, folder, bench, 8)))
    for _ in range(int(rng.integers(1, 3))):
        position = int(rng.integers(len(text)))
        what = int(rng.integers(4))
        odd = pick(rng, tuple(" \t\n:-#'\"{}[],&*!|>%@`?.0159_xe+~=\\\u00a0\u2028é\ufeff\x85"))
        if what == 0:
            text[position] = odd
        elif what == 1:
            text.insert(position, odd)
        elif what == 2:
            del text[position]
        else:
            other = int(rng.integers(len(text)))
            text[position], text[other] = text[other], text[position]
    content = "".join(text)
    return attempt(f"a letter changed: {_around(content)}", folder, content, _read(content))


def _around(content: str) -> str:
    return repr(content[:24])


def _read(content: str) -> Document | None:
    """What ruamel's own constructor makes of a text; None when it refuses it."""
    try:
        found: Any = YAML(typ="safe", pure=True).load(content)
    except (YAMLError, ValueError):
        return None
    return found if isinstance(found, dict) else None


RECIPES: tuple[Recipe, ...] = (_one_letter, _structures, _encodings, _styles, _one_letter)
