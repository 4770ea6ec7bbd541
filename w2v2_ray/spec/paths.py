"""What a job's paths name, looked at on this machine: the mistakes that would show only once it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

from w2v2_ray.spec.diagnostics import Diagnostic, dotted
from w2v2_ray.spec.document import Node, Path

_MANIFEST = "dataset.json"
_DATASETS = ("train", "validation")


def path_mistakes(tree: Node) -> Iterator[Diagnostic]:
    """Paths of a training job at which there is not what there must be; URIs are left alone.

    Args:
        tree: The whole document, short forms expanded. What is no path in it is for others to complain about.
    """
    for path, text in _paths(tree):
        if "://" in text:
            continue
        message = _wrong(path, File(os.path.expanduser(text)))
        if message:
            yield Diagnostic(message, dotted(path), _whole(text), tree.nearest(path).place)


def unseen_uris(tree: Node) -> list[str]:
    """URIs of the job, at which nobody looked.

    Args:
        tree: As for `path_mistakes`.
    """
    return list(dict.fromkeys(text for _, text in _paths(tree) if "://" in text))


def _paths(tree: Node) -> Iterator[tuple[Path, str]]:
    for part in _DATASETS:
        node = tree.find(("data", part))
        entries = node.value if node is not None and isinstance(node.value, list) else []
        for number in range(len(entries)):
            yield from _text(tree, ("data", part, number, "path"))
    for path in (("data", "cache_dir"), ("pretrained",), ("vocabulary", "path")):
        yield from _text(tree, path)
    yield from _text(tree, ("storage_path",), "runs")


def _text(tree: Node, path: Path, default: str | None = None) -> Iterator[tuple[Path, str]]:
    node = tree.find(path)
    value: Any = node.plain() if node is not None else default
    if isinstance(value, str) and value and "\0" not in value:
        yield path, value


def _wrong(path: Path, file: File) -> str | None:
    if path[0] == "data" and path[1] in _DATASETS:
        return _no_dataset(file)
    if path[-1] in ("storage_path", "cache_dir"):
        return _not_writable(file)
    if os.path.exists(file):
        return None
    if path[0] == "pretrained":
        return "no such run, checkpoint or model; give its path, or `pretrained: null` for random weights"
    return "no such file; give the path of a tokenizer file, or leave it out to take the characters of the transcripts"


def _no_dataset(file: File) -> str | None:
    if os.path.isfile(file / _MANIFEST):
        return None
    if os.path.isdir(file):
        return f"a folder without {_MANIFEST}, no dataset; make one of it with `w2v2-ray prepare {file} --out DIR`"
    if os.path.exists(file):
        return f"a file and no dataset; make one of it with `w2v2-ray prepare {file} --out DIR`"
    return "no such dataset here; make it with `w2v2-ray prepare SOURCE --out DIR`, or give the path of one"


def _not_writable(file: File) -> str | None:
    there = next(parent for parent in (file.absolute(), *file.absolute().parents) if os.path.lexists(parent))
    if not os.path.isdir(there):
        return f"{there} is a file, so no folder can be made there; use a folder that you may write"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written by you; use a folder that you may write"
    return None


def _whole(text: str) -> str:
    """A path at its full length, for its end says most."""
    return "".join(char if char.isprintable() else "?" for char in text)
