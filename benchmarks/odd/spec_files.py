"""Job specs whose every value is known, written in all the ways that YAML allows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from odd.answer import Answer
from odd.attempt import Attempt
from odd.verdict import RIGHT, Verdict, refused, wrong_success
from odd.workbench import Workbench

JOB = "job.yaml"
Document = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A field of a job and values that it may have.

    Args:
        path: Dotted.
        type: `int`, `float` or `bool`.
        value: Draws one.
    """

    path: str
    type: str
    value: Callable[[np.random.Generator], Any]


def _whole(low: int, high: int) -> Callable[[np.random.Generator], int]:
    return lambda rng: int(rng.integers(low, high))


def _part(low: float, high: float) -> Callable[[np.random.Generator], float]:
    return lambda rng: round(float(rng.uniform(low, high)), 6)


def _either(rng: np.random.Generator) -> bool:
    return bool(rng.integers(2))


FIELDS = (
    Field("updates", "int", _whole(1_000, 1_000_000)),
    Field("seed", "int", _whole(0, 2**31)),
    Field("optim.lr", "float", _part(1e-5, 0.9)),
    Field("optim.eps", "float", _part(1e-6, 0.1)),
    Field("optim.weight_decay", "float", _part(0.0, 0.5)),
    Field("optim.clip_norm", "float", _part(0.1, 50.0)),
    Field("optim.schedule.power", "float", _part(0.5, 3.0)),
    Field("optim.schedule.final_scale", "float", _part(0.0, 1.0)),
    Field("elastic.stable_s", "float", _part(0.0, 100.0)),
    Field("elastic.resize_interval_s", "float", _part(0.0, 1000.0)),
    Field("worker.cpus", "float", _part(0.5, 2.0)),
    Field("failure.max_failures", "int", _whole(0, 1000)),
    Field("failure.hang_timeout_s", "float", _part(1.0, 1000.0)),
    Field("validation.every_updates", "int", _whole(1, 10_000)),
    Field("validation.max_sub_batches", "int", _whole(1, 100)),
    Field("checkpoint.every_updates", "int", _whole(1, 10_000)),
    Field("checkpoint.keep_last", "int", _whole(1, 20)),
    Field("checkpoint.keep_best", "bool", _either),
    Field("checkpoint.snapshot_s", "float", _part(0.0, 100.0)),
    Field("logging.every_updates", "int", _whole(1, 100)),
    Field("logging.tensorboard", "bool", _either),
    Field("logging.trace_samples", "bool", _either),
    Field("data.prefetch_micro_batches", "int", _whole(1, 16)),
    Field("data.cache_bytes", "int", _whole(10_000, 2**40)),
    Field("engine.activation_checkpointing", "bool", _either),
    Field("loss.negatives", "int", _whole(1, 200)),
    Field("model.encoder.dropout", "float", _part(0.0, 0.99)),
    Field("model.encoder.layer_drop", "float", _part(0.0, 0.99)),
    Field("model.encoder.ffn_dim", "int", _whole(16, 512)),
)


def random_field(rng: np.random.Generator, types: str = "int float bool") -> Field:
    """A field of some types."""
    fields = [field for field in FIELDS if field.type in types.split()]
    return fields[int(rng.integers(len(fields)))]


def put(document: Document, path: str, value: Any) -> Document:
    """A document with a value at a path."""
    key, _, rest = path.partition(".")
    inner = document.get(key)
    return {**document, key: put(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


def at(document: Any, path: str) -> Any:
    """The value at a path; None when there is none."""
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def base(folder: Path, bench: Workbench) -> Document:
    """A job that is in order."""
    return {
        "kind": "pretrain",
        "preset": "tiny",
        "name": "odd-run",
        "storage_path": str(folder / "runs"),
        "data": {"train": str(bench.dataset)},
    }


def random_job(rng: np.random.Generator, folder: Path, bench: Workbench, count: int = 5) -> Document:
    """A job that is in order, with some fields set."""
    document = base(folder, bench)
    for index in rng.permutation(len(FIELDS))[:count]:
        document = put(document, FIELDS[int(index)].path, FIELDS[int(index)].value(rng))
    return document


def scalar(value: Any) -> str:
    """A value as plain YAML."""
    if value is None or isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return str(value) if isinstance(value, str) and value.isascii() and ": " not in value else json.dumps(value)


def block(document: Document, indent: int = 2, depth: int = 0) -> str:
    """YAML in block style."""
    text = ""
    for key, value in document.items():
        head = " " * (indent * depth) + key + ":"
        if isinstance(value, dict) and value:
            text += head + "\n" + block(value, indent, depth + 1)
        else:
            text += f"{head} {flow(value) if isinstance(value, (dict, list)) else scalar(value)}\n"
    return text


def flow(value: Any) -> str:
    """YAML in flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def same(meant: Any, found: Any, path: str = "") -> str | None:
    """Where a resolved job differs from what was written; None where nothing does."""
    if path in ("data.train", "data.validation") and isinstance(meant, str):
        meant = [{"path": meant}]
    if isinstance(meant, dict) and isinstance(found, dict):
        for key, value in meant.items():
            if (not path and key == "preset") or (value == {} and key not in found):
                continue
            inner = f"{path}.{key}" if path else str(key)
            if str(key) not in found:
                return f"{inner} is not in the job"
            if (difference := same(value, found[str(key)], inner)) is not None:
                return difference
        return None
    if isinstance(meant, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(meant) != len(found):
            return f"{path} has {len(found)} entries of {len(meant)}"
        return next((d for a, b in zip(meant, found, strict=True) if (d := same(a, b, path)) is not None), None)
    alike = meant == found and isinstance(meant, bool) == isinstance(found, bool)
    return None if alike else f"{path} is {found!r}, written was {meant!r}"


def attempt(
    what: str,
    folder: Path,
    content: str | bytes,
    meant: Document | None,
    *,
    must: bool = False,
    naming: Sequence[str] = (),
    options: Sequence[str] = (),
    name: str = JOB,
) -> Attempt:
    """Validate a file.

    Args:
        what: What is odd.
        folder: Where it goes.
        content: Of the file.
        meant: What the job must be when it is valid; None when it cannot be.
        must: It is valid.
        naming: What a refusal must name.
        options: Of the command.
        name: Of the file.
    """
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    command = ("validate", name, *options)
    overrides = [text for flag, text in pairwise(options) if flag == "--set"]
    return Attempt(what, (command,), lambda answers: judge(answers[0], folder / name, overrides, meant, must, naming))


def judge(
    answer: Answer, path: Path, overrides: Sequence[str], meant: Document | None, must: bool, naming: Sequence[str]
) -> Verdict:
    """Judge what was said of a job spec."""
    if answer.exit_code:
        return refused(answer, may=not must, naming=naming)
    if meant is None:
        return wrong_success("said to be valid")
    from w2v2_ray.spec.loading import load_job

    job = load_job(path, overrides).job
    difference = same(meant, {"kind": job.kind, **job.model_dump(mode="json")})
    return RIGHT if difference is None else wrong_success(difference)
