"""The points of a sweep: every combination as a job, refused ones with the reason, and the order of their trials.

Needs neither torch nor ray, so that `validate` can list the points of a sweep at once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.loading import change_job
from w2v2_ray.spec.overrides import Override
from w2v2_ray.spec.space import ParameterSpec
from w2v2_ray.spec.sweep_loading import LoadedSweep, plain_node

_TRIES_PER_SAMPLE = 50
"""Draws of a random search for each point wanted, before it is content with fewer."""
_SEPARATOR = ", "


@dataclass(frozen=True)
class Point:
    """One configuration.

    Attributes:
        key: Identity of what is measured; equal jobs have equal keys.
        label: What tables and plots call it.
        values: Dotted path to value, of what varies.
        job: The job as it would be trained.
        trial_job: The job as it is measured.
    """

    key: str
    label: str
    values: dict[str, Any]
    job: TrainJob
    trial_job: TrainJob


@dataclass(frozen=True)
class Rejected:
    """A combination that no trial is spent on."""

    label: str
    values: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Points:
    """What a sweep visits.

    Attributes:
        baseline: What everything is compared with; the first of `points`.
        points: All that are valid, each once; of an optuna search the baseline alone.
        rejected: What was left out, and why.
    """

    baseline: Point
    points: tuple[Point, ...]
    rejected: tuple[Rejected, ...]


def expand(loaded: LoadedSweep) -> Points:
    """Work out the points of a sweep; nothing is measured.

    Raises:
        SpecError: The baseline is refused, or every point is.
    """
    found: dict[str, Point] = {}
    rejected: list[Rejected] = []
    grid = loaded.sweep.search.method == "grid"
    candidates = _grid(loaded.parameters) if grid else _sample(loaded)
    baseline = _baseline(loaded)
    if baseline is not None:
        found[baseline.key] = baseline
    wanted = len(found) + loaded.sweep.search.samples
    for values in candidates:
        if not grid and len(found) >= wanted:
            break
        outcome = make_point(loaded, values)
        if isinstance(outcome, Rejected):
            if outcome not in rejected:
                rejected.append(outcome)
        elif outcome.key not in found:
            found[outcome.key] = outcome
        elif grid and outcome.values != found[outcome.key].values and found[outcome.key] is not baseline:
            same = f"is the same job as `{found[outcome.key].label}`"
            rejected.append(Rejected(outcome.label, outcome.values, same))
    if not found:
        reasons = "\n".join(f"  {entry.label}: {entry.reason}" for entry in rejected[:5])
        raise SpecError(f"{loaded.source}: space: the job schema refuses every point:\n{reasons}")
    points = tuple(found.values())
    return Points(points[0], points, tuple(rejected))


def make_point(loaded: LoadedSweep, values: Mapping[str, Any]) -> Point | Rejected:
    """The job at one combination of values, or why there is none."""
    label = label_of(loaded.parameters, values)
    options = tuple(
        Override(tuple(path.split(".")), plain_node(value, loaded.marks[path])) for path, value in values.items()
    )
    return _point(loaded, label, dict(values), options)


def _baseline(loaded: LoadedSweep) -> Point | None:
    """The baseline where it is not the first point of the grid."""
    if loaded.baseline is None:
        if loaded.sweep.search.method == "grid":
            return None
        options: tuple[Override, ...] = ()
    else:
        options = loaded.baseline
    values = {".".join(option.path): option.value.plain() for option in options}
    same = set(values) <= set(loaded.parameters)
    label = label_of(loaded.parameters, values) if values and same else "baseline"
    point = _point(loaded, label, values, options)
    if isinstance(point, Rejected):
        raise SpecError(f"{loaded.source}: baseline: {point.reason}")
    return point


def _point(loaded: LoadedSweep, label: str, values: dict[str, Any], options: Sequence[Override]) -> Point | Rejected:
    try:
        job = change_job(loaded.base, options).job
        trial_job = job
        if loaded.sweep.mode != "quality" and loaded.measuring:
            try:
                trial_job = change_job(loaded.base, (*loaded.measuring, *options)).job
            except SpecError as error:
                return Rejected(label, values, f"as it would be measured (throughput.set): {one_line(error)}")
    except SpecError as error:
        return Rejected(label, values, one_line(error))
    return Point(key_of(trial_job), label, values, job, trial_job)


def key_of(job: TrainJob) -> str:
    """Identity of a job, whatever its name and folder are."""
    document = job.model_dump(mode="json", exclude={"name", "storage_path"})
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


def one_line(error: SpecError) -> str:
    """Messages of an error without the places of the space, which the values say already."""
    return "; ".join(line for line in error.message.splitlines() if line.strip())


def _grid(parameters: Mapping[str, ParameterSpec]) -> Iterator[dict[str, Any]]:
    grids = [parameter.grid() for parameter in parameters.values()]
    for combination in itertools.product(*grids):
        yield dict(zip(parameters, combination, strict=True))


def _sample(loaded: LoadedSweep) -> Iterator[dict[str, Any]]:
    """Seeded draws from the space; none for optuna, which proposes its own."""
    if loaded.sweep.search.method == "optuna":
        return
    rng = random.Random(loaded.sweep.search.seed)
    for _ in range(loaded.sweep.search.samples * _TRIES_PER_SAMPLE):
        yield {path: parameter.at(rng.random()) for path, parameter in loaded.parameters.items()}


def label_of(parameters: Mapping[str, ParameterSpec], values: Mapping[str, Any]) -> str:
    """What to call a combination: the labels of its choices where they have some, else `key=value`."""
    return _SEPARATOR.join(value_label(path, parameters.get(path), value) for path, value in values.items())


def value_label(path: str, parameter: ParameterSpec | None, value: Any) -> str:
    """What to call one value of one parameter."""
    if parameter is not None and parameter.labels is not None and parameter.choices is not None:
        for choice, label in zip(parameter.choices, parameter.labels, strict=True):
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return label
    name = path.rpartition(".")[2]
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_short(child)}" for key, child in value.items())
    if value is None:
        return f"no {name}"
    return f"{name}={_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, (dict, list, tuple, bool)) else str(value)


def interleaved(points: Sequence[Point], repeats: int, seed: int) -> list[tuple[Point, int]]:
    """The order of the trials: every repeat visits all points, baseline among them, in an order of its own.

    A machine that becomes slower, or warm, meets all points alike. Each repeat rotates one seeded order, so that no
    point is always first, and two neighbours in time are not always neighbours in the table.
    """
    order = list(points)
    random.Random(seed).shuffle(order)
    trials = []
    for repeat in range(repeats):
        start = repeat * max(1, len(order) // repeats) % len(order)
        trials += [(point, repeat) for point in (*order[start:], *order[:start])]
    return trials
