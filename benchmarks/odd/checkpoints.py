"""Checkpoints that are broken, hostile, or something else: pickles, safetensors and model folders of our own."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from odd.answer import Answer
from odd.attempt import Attempt, Recipe, pick
from odd.audio_bytes import damaged
from odd.verdict import RIGHT, Verdict, refused, wrong_success
from odd.workbench import VOCABULARY, Workbench

_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0a" * 32 + b"\nsize 378664832\n"
_FOREIGN: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "nothing": (b"", ()),
    "text": (b"hello\n" * 20, ()),
    "a Git LFS pointer": (_POINTER, ("lfs",)),
    "a Git LFS pointer with CRLF": (_POINTER.replace(b"\n", b"\r\n"), ("lfs",)),
    "an HTML page": (b"\n<!doctype html>\n<html><head><title>404</title></head></html>", ("html|web page",)),
    "an XML error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', ()),
    "a JSON error": (b'{"error": "Repository not found"}', ()),
    "a gzip file": (gzip.compress(b"hello" * 99), ()),
    "a tar file": (b"x".ljust(257, b"\0") + b"ustar\x0000" + bytes(800), ()),
    "a PNG": (b"\x89PNG\r\n\x1a\n" + bytes(300), ()),
    "zeros": (bytes(70_000), ()),
    "one byte": (b"\x80", ()),
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n" + bytes(600), ()),
    "a RAR file": (b"Rar!\x1a\x07\x01\0" + bytes(600), ()),
}


def _import(
    what: str, source: str, folder: Path, *, may: bool = False, naming: Sequence[str] = (), vocabulary: str = ""
) -> Attempt:
    """Import what can be used only when `may`."""
    options = ("--vocabulary", vocabulary) if vocabulary else ()
    command = ("import", source, "--out", "out", *options)
    canary = folder / "was-here"

    def judge(answers: Sequence[Answer]) -> Verdict:
        if canary.exists():
            return wrong_success("code in the file was run")
        if answers[0].exit_code:
            return refused(answers[0], naming=naming)
        return RIGHT if may else wrong_success("imported")

    return Attempt(what, (command,), judge)


def _foreign(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """What is no checkpoint, under the names of checkpoints."""
    what, name = (
        pick(rng, list(_FOREIGN)),
        pick(rng, ("model.pt", "model.pth", "model.bin", "model.safetensors", "model")),
    )
    content, naming = _FOREIGN[what]
    (folder / name).write_bytes(content)
    return _import(f"{what} named {name}", name, folder, naming=naming)


def _cut(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    share = float(rng.uniform(0.0, 0.995))
    if rng.uniform() < 0.5:
        content = bench.nvidia.read_bytes()
        (folder / "model.pt").write_bytes(content[: int(len(content) * share)])
        return _import(f"a .pt cut to {share:.1%}", "model.pt", folder)
    content = (bench.huggingface / "model.safetensors").read_bytes()
    shutil.copytree(bench.huggingface, folder / "source")
    (folder / "source" / "model.safetensors").write_bytes(content[: int(len(content) * share)])
    return _import(f"safetensors cut to {share:.1%}", "source", folder)


class _Runs:
    """What runs a command when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._call


def _hostile(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Pickles that run code, or take all memory, when they are unpickled."""
    canary = str(folder / "was-here")
    pickles: dict[str, bytes] = {
        "os.system": pickle.dumps({"model": _Runs(os.system, f"touch {canary}")}),
        "os.system, protocol 0": pickle.dumps({"model": _Runs(os.system, f"touch {canary}")}, 0),
        "exec": pickle.dumps({"model": {"a": _Runs(exec, f"open({canary!r}, 'w')")}}),
        "eval": b"cbuiltins\neval\n(S'open(\"" + canary.encode() + b'", "w")\'\ntR.',
        "open": pickle.dumps([_Runs(open, canary, "w")]),
        "a module of numpy": f"cnumpy.testing._private.utils\nrunstring\n(S\"open('{canary}','w')\"\n(dtR.".encode(),
        "os.mkdir by name": f"c__builtin__\ngetattr\n(cos\nmkdir\nS'__call__'\ntR(S'{canary}'\ntR.".encode(),
        "subprocess": f"csubprocess\ncheck_output\n((S'touch'\nS'{canary}'\nltR.".encode(),
        "an object that runs when it is built": b"(ios\nsystem\n(S'touch " + canary.encode() + b"'\nt.",
        "a string of 8 EB": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
        "bytes of 4 GB": b"\x80\x03B" + struct.pack("<I", 0xFFFF_FFF0) + b"x.",
        "a memo of 2^31": b"\x80\x02Nr" + struct.pack("<I", 2**31 - 1) + b".",
        "a long of 2 GB": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        "lists nested deeply": b"(" * 200_000 + b"l" * 200_000 + b".",
        "lists that double": b"\x80\x02]q\0"
        + b"".join(b"]q" + bytes([i]) + (b"h" + bytes([i - 1]) + b"a") * 9 for i in range(1, 60))
        + b".",
        "a persistent id": b"\x80\x02Pno-such-id\n.",
        "an extension code": b"\x80\x02\x82\x01.",
        "a list": pickle.dumps([1, 2, 3]),
        "a number": pickle.dumps(7),
        "a mapping of text": pickle.dumps({"model": "weights"}),
        "a model of numbers": pickle.dumps({"model": {"mask_emb": 1.0}}),
        "keys of numbers": pickle.dumps({1: 2, None: 3}),
    }
    what = pick(rng, list(pickles))
    content = pickles[what]
    if rng.uniform() < 0.5:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
        what, content = f"{what}, in a zip file", packed.getvalue()
    (folder / "model.pt").write_bytes(content)
    return _import(f"pickle: {what}", "model.pt", folder)


def _flipped(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Bits flipped where a checkpoint says what it is: no traceback, whatever comes of it."""
    if rng.uniform() < 0.5:
        content = bench.nvidia.read_bytes()
        end = min(len(content), 20_000)
        (folder / "model.pt").write_bytes(damaged(content[:end], rng, 0, int(rng.integers(1, 9))) + content[end:])
        return _import("a .pt with bits flipped", "model.pt", folder, may=True)
    shutil.copytree(bench.huggingface, folder / "source")
    path = folder / "source" / "model.safetensors"
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    path.write_bytes(damaged(content[: 8 + size], rng, 0, int(rng.integers(1, 5))) + content[8 + size :])
    return _import("safetensors with bits flipped in the header", "source", folder, may=True)


def _safetensors(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Headers of safetensors that say what is not so."""
    shutil.copytree(bench.huggingface, folder / "source")
    path = folder / "source" / "model.safetensors"
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + size])
    body = content[8 + size :]
    names = [name for name in header if name != "__metadata__"]
    name = pick(rng, names)
    entry = header[name]
    begin, end = entry["data_offsets"]
    changes: dict[str, dict[str, Any] | None] = {
        "a tensor fewer": {n: e for n, e in header.items() if n != name},
        "a tensor more": {**header, "surprise.weight": {**entry}},
        "another name": {(n if n != name else "surprise.weight"): e for n, e in header.items()},
        "another type": {**header, name: {**entry, "dtype": "F64"}},
        "an unknown type": {**header, name: {**entry, "dtype": "Q4"}},
        "integers": {**header, name: {**entry, "dtype": "I32"}},
        "another shape": {**header, name: {**entry, "shape": [*entry["shape"], 2]}},
        "a shape below 0": {**header, name: {**entry, "shape": [-1]}},
        "a shape of 2^62": {**header, name: {**entry, "shape": [2**62, 4]}},
        "offsets beyond the end": {**header, name: {**entry, "data_offsets": [begin, end + 2**40]}},
        "offsets the wrong way round": {**header, name: {**entry, "data_offsets": [end, begin]}},
        "a list": None,
        "a length of 2^63": None,
        "a length of 100 MB": None,
        "NaN": header,
        "infinity": header,
    }
    what = pick(rng, list(changes))
    changed = changes[what]
    text = json.dumps(changed if changed is not None else [1, 2]).encode()
    length = {"a length of 2^63": 2**63 + 5, "a length of 100 MB": 100_000_001}.get(what, len(text))
    if what in ("NaN", "infinity"):
        value = struct.pack("<f", float("nan") if what == "NaN" else float("inf"))
        body = body[:begin] + value + body[begin + 4 :]
    path.write_bytes(struct.pack("<Q", length) + text + body)
    return _import(f"safetensors: {what} ({name})", "source", folder)


def _own_folder(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A model folder of our own in which something is not as it was."""
    source = folder / "source"
    shutil.copytree(bench.recogniser, source)
    spec, vocabulary = (source / "spec.yaml").read_text(), list(VOCABULARY)
    changes: dict[str, tuple[str, Any, bool]] = {
        "a byte-order mark in the spec": ("spec.yaml", "\ufeff" + spec, True),
        "another kind": ("spec.yaml", spec.replace("kind: ctc", "kind: pretrain"), False),
        "an unknown key": ("spec.yaml", spec + "surprise: 1\n", False),
        "version 99": ("spec.yaml", spec.replace("version: 1", "version: 99"), False),
        "version one": ("spec.yaml", spec.replace("version: 1", "version: one"), False),
        "another width": ("spec.yaml", spec.replace("dim: 24", "dim: 48"), False),
        "a layer more": ("spec.yaml", spec.replace("layers: 2", "layers: 3"), False),
        "an empty spec": ("spec.yaml", "", False),
        "a tag in the spec": ("spec.yaml", spec + "x: !!python/object/apply:os.getpid []\n", False),
        "a job for a spec": ("spec.yaml", "kind: pretrain\nname: x\ndata: {train: a}\n", False),
        "a byte-order mark in the vocabulary": ("vocab.json", "\ufeff" + json.dumps(vocabulary), True),
        "a symbol fewer": ("vocab.json", json.dumps(vocabulary[:-1]), False),
        "a symbol twice": ("vocab.json", json.dumps([*vocabulary[:-1], "E"]), False),
        "a number for a symbol": ("vocab.json", json.dumps([*vocabulary[:-1], 7]), False),
        "an empty symbol": ("vocab.json", json.dumps([*vocabulary[:-1], ""]), False),
        "half a surrogate pair": ("vocab.json", json.dumps([*vocabulary[:-1], "\ud800"]), False),
        "the blank last": ("vocab.json", json.dumps([*vocabulary[1:], "<s>"]), False),
        "no word boundary": ("vocab.json", json.dumps([s if s != "|" else "Ä" for s in vocabulary]), False),
        "an LFS pointer for a vocabulary": ("vocab.json", _POINTER.decode(), False),
        "UTF-16": ("vocab.json", json.dumps(vocabulary).encode("utf-16"), True),
    }
    what = pick(rng, list(changes))
    name, content, may = changes[what]
    (source / name).write_bytes(content.encode() if isinstance(content, str) else content)
    command = ("transcribe", "source", str(bench.speech), "--device", "cpu")
    plain = ("transcribe", str(bench.recogniser), str(bench.speech), "--device", "cpu")

    def judge(answers: Sequence[Answer]) -> Verdict:
        if answers[0].exit_code:
            return refused(answers[0], may="byte-order mark" not in what)
        if not may:
            return wrong_success("used all the same")
        fine = answers[0].out == answers[1].out
        return RIGHT if fine else wrong_success(f"hears {answers[0].out[:60]!r} instead of {answers[1].out[:60]!r}")

    return Attempt(f"own folder: {what}", (command, plain), judge)


def _given_vocabulary(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """`--vocabulary` with files of all sorts."""
    size = len(VOCABULARY)
    dictionary = "".join(f"{symbol} {100 - number}\n" for number, symbol in enumerate(VOCABULARY[4:]))
    index = json.dumps({symbol: number for number, symbol in enumerate(VOCABULARY)})
    forms: dict[str, tuple[str, bytes, bool]] = {
        "a dictionary": ("dict.ltr.txt", dictionary.encode(), True),
        "a dictionary with a byte-order mark": ("dict.ltr.txt", b"\xef\xbb\xbf" + dictionary.encode(), True),
        "a dictionary with CRLF": ("dict.ltr.txt", dictionary.replace("\n", "\r\n").encode(), True),
        "a dictionary without counts": ("dict.ltr.txt", "\n".join(VOCABULARY[4:]).encode(), False),
        "a dictionary in UTF-16": ("dict.ltr.txt", dictionary.encode("utf-16"), True),
        "a symbol twice": ("dict.ltr.txt", dictionary.replace("Z ", "Q ").encode(), False),
        "a symbol fewer": ("dict.ltr.txt", dictionary[: dictionary.rindex("\n", 0, -1) + 1].encode(), False),
        "an index": ("vocab.json", index.encode(), True),
        "an index with a byte-order mark": ("vocab.json", b"\xef\xbb\xbf" + index.encode(), True),
        "an HTML page": ("vocab.json", b"<html>404</html>", False),
        "a pointer": ("vocab.json", _POINTER, False),
        "an index of others": ("vocab.json", json.dumps({f"w{n}": n for n in range(size + 1)}).encode(), False),
    }
    what = pick(rng, list(forms))
    name, content, may = forms[what]
    (folder / name).write_bytes(content)
    shutil.copy(bench.nvidia, folder / "model.pt")
    inner = _import(f"--vocabulary: {what}", "model.pt", folder, may=may, vocabulary=name)

    def judge(answers: Sequence[Answer]) -> Verdict:
        verdict = inner.judge(answers)
        if answers[0].exit_code and may and "UTF-16" not in what:
            return refused(answers[0], may=False)
        if not answers[0].exit_code and not verdict.is_fault:
            found = json.loads((folder / "out" / "vocab.json").read_text(encoding="utf-8"))
            return RIGHT if found == [*VOCABULARY] else wrong_success(f"vocabulary {found}")
        return verdict

    return Attempt(inner.what, inner.commands, judge)


RECIPES: tuple[Recipe, ...] = (_hostile, _foreign, _safetensors, _own_folder, _cut, _given_vocabulary, _flipped)
