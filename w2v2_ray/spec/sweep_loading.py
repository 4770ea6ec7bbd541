"""A sweep with the files it names: the base job, the search space, and what is wrong with any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, get_args, get_origin

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.diagnostics import Diagnostic, InvalidJobError, explain_unknown_key
from w2v2_ray.spec.document import Mark, Node, Origin, parse_yaml
from w2v2_ray.spec.introspection import specs_in
from w2v2_ray.spec.job import Job, TrainJob
from w2v2_ray.spec.kinds import JOB_KINDS
from w2v2_ray.spec.loading import LoadedJob, change_job, load_job_of, load_job_tree, read_spec_file
from w2v2_ray.spec.overrides import Override
from w2v2_ray.spec.published import spec_file
from w2v2_ray.spec.space import ParameterSpec, SpaceSpec
from w2v2_ray.spec.sweep import SweepSpec

_FIXED = {"kind": "another kind of job is another sweep", "name": "every trial has a name of its own"}
"""Fields that a space cannot vary, and why."""


@dataclass(frozen=True, slots=True)
class LoadedSweep:
    """A valid sweep and the job it changes."""

    sweep: SweepSpec
    """What to do."""
    base: LoadedJob[TrainJob]
    """The job at every point, before the point changes it; as it would be trained."""
    parameters: dict[str, ParameterSpec]
    """What varies, in order: dotted path to values."""
    marks: dict[str, Mark]
    """Where each parameter was written."""
    measuring: tuple[Override, ...]
    """Changes made for measuring only."""
    baseline: tuple[Override, ...] | None
    """What everything is compared with, where the sweep says so."""
    warnings: tuple[Diagnostic, ...]
    """What is legal but known to cost its user a night."""
    source: str
    """The file as it was named."""


def load_sweep(path: str | PathLike[str], overrides: Sequence[str] = ()) -> LoadedSweep:
    """Read and validate a sweep, its base job and its search space.

    Paths inside a sweep are relative to the current directory, as everywhere in specs.

    Raises:
        SpecError: With all mistakes, one a line, each with its place.
    """
    loaded = load_job_of(SweepSpec, path, overrides)
    sweep, tree = loaded.job, loaded.tree
    base = _base(sweep, tree, str(path))
    parameters, marks = _parameters(sweep, tree, base)
    throughput = tree.find(("throughput", "set"))
    baseline = tree.find(("baseline",))
    measuring = (*_trial_workers(sweep, tree), *changes(throughput))
    if sweep.mode != "quality":
        _check_measuring(base, measuring, parameters, marks)
    mistakes = [
        *_unknown_fields(type(base.job), marks),
        *_search_mistakes(sweep, parameters, marks, base, tree),
    ]
    if mistakes:
        raise InvalidJobError.of(mistakes)
    return LoadedSweep(
        sweep=sweep,
        base=base,
        parameters=parameters,
        marks=marks,
        measuring=measuring,
        baseline=changes(baseline) if sweep.baseline is not None else None,
        warnings=(*loaded.warnings, *(base.warnings if sweep.mode == "quality" else ())),
        source=loaded.source,
    )


def _trial_workers(sweep: SweepSpec, tree: Node) -> tuple[Override, ...]:
    """A trial has its own number of workers, whatever the job would be trained with."""
    workers = sweep.throughput.workers
    if workers is None:
        return ()
    mark = replace(tree.nearest(("throughput", "workers")).place, origin=Origin.OPTION)
    return (Override(("elastic",), plain_node({"min_workers": workers, "max_workers": workers}, mark)),)


def _check_measuring(
    base: LoadedJob[TrainJob],
    measuring: Sequence[Override],
    parameters: Mapping[str, ParameterSpec],
    marks: Mapping[str, Mark],
) -> None:
    """Say now what is wrong with `throughput.set`, unless a point mends it: the first one is tried."""
    try:
        change_job(base, measuring)
    except SpecError as error:
        first = [Override(tuple(p.split(".")), plain_node(v.at(0.0), marks[p])) for p, v in parameters.items()]
        try:
            change_job(base, (*measuring, *first))
        except SpecError:
            raise error from None


def changes(node: Node | None) -> tuple[Override, ...]:
    """The entries of a mapping of dotted paths to values, as overrides that know where they were written."""
    entries = node.value if node is not None and isinstance(node.value, dict) else {}
    found = []
    for key, value in entries.items():
        parts = tuple(part.strip() for part in key.split("."))
        if not all(parts):
            raise SpecError(f"{value.key_mark}: {key}: the path has an empty part; write keys joined by single dots")
        found.append(Override(parts, as_option(value)))
    return tuple(found)


def as_option(node: Node) -> Node:
    """The same value, where messages prefer it to the file that it overrides."""
    mark = replace(node.mark, origin=Origin.OPTION)
    key_mark = replace(node.key_mark, origin=Origin.OPTION) if node.key_mark is not None else mark
    if isinstance(node.value, dict):
        return Node({key: as_option(child) for key, child in node.value.items()}, mark, key_mark)
    if isinstance(node.value, list):
        return Node([as_option(child) for child in node.value], mark, key_mark)
    return Node(node.value, mark, key_mark)


def plain_node(value: Any, mark: Mark) -> Node:
    """A plain value as a tree that stands at one place."""
    if isinstance(value, Mapping):
        return Node({str(key): plain_node(child, mark) for key, child in value.items()}, mark, mark)
    if isinstance(value, (list, tuple)):
        return Node([plain_node(child, mark) for child in value], mark, mark)
    return Node(value, mark, mark)


def _base(sweep: SweepSpec, tree: Node, source: str) -> LoadedJob[TrainJob]:
    if sweep.base.file is not None:
        source = sweep.base.file
        node = parse_yaml(read_spec_file(spec_file(Path(source))), source)
    else:
        found = tree.find(("base", "job"))
        assert found is not None
        node = found
        if isinstance(node.value, dict) and "name" not in node.value:
            node.value["name"] = Node(sweep.name, node.mark, node.key_mark)
    loaded = load_job_tree(node, source, changes(tree.find(("base", "set"))))
    if not isinstance(loaded.job, TrainJob):
        place = tree.nearest(("base", "file")).place
        raise SpecError(f"{place}: base: {source}: kind: {loaded.job.kind}, but this takes kind: pretrain or finetune")
    return LoadedJob(loaded.job, loaded.warnings, loaded.source, loaded.tree)


def _parameters(
    sweep: SweepSpec, tree: Node, base: LoadedJob[TrainJob]
) -> tuple[dict[str, ParameterSpec], dict[str, Mark]]:
    parameters: dict[str, ParameterSpec] = {}
    marks: dict[str, Mark] = {}

    def add(found: Mapping[str, ParameterSpec], node: Node | None) -> None:
        for path, parameter in found.items():
            parameters[path] = parameter
            entry = node.child(path) if node is not None else None
            place = entry.key_mark or entry.mark if entry is not None else tree.place
            marks[path] = replace(place, origin=Origin.OPTION)

    if sweep.space.file is not None:
        space = load_space(sweep.space.file)
        if space.job.of != base.job.kind:
            place = tree.nearest(("space", "file")).place
            raise SpecError(
                f"{place}: space: {space.source} is a space of {space.job.of} jobs (`of:`), but base: {base.source} is "
                f"of kind: {base.job.kind}; use another space"
            )
        add(space.job.parameters, space.tree.child("parameters"))
    add(sweep.space.parameters, tree.find(("space", "parameters")))
    return parameters, marks


def load_space(path: str | PathLike[str], overrides: Sequence[str] = ()) -> LoadedJob[SpaceSpec]:
    """Read and validate a search space; every field it names exists.

    Raises:
        SpecError: With all mistakes.
    """
    space = load_job_of(SpaceSpec, path, overrides)
    node = space.tree.child("parameters")
    entries = node.value if node is not None and isinstance(node.value, dict) else {}
    marks = {key: entry.key_mark or entry.mark for key, entry in entries.items()}
    mistakes = list(_unknown_fields(JOB_KINDS[space.job.of], marks))
    if mistakes:
        raise InvalidJobError.of(mistakes)
    return space


def _unknown_fields(root: type[Job], marks: Mapping[str, Mark]) -> Iterator[Diagnostic]:
    for path, mark in marks.items():
        parts = path.split(".")
        if parts[0] in _FIXED:
            yield Diagnostic(f"cannot vary: {_FIXED[parts[0]]}; take it out", path, "", mark)
            continue
        message = unknown_field(root, parts)
        if message is not None:
            yield Diagnostic(message, path, "", mark)


def unknown_field(root: type[Job], parts: Sequence[str]) -> str | None:
    """What is wrong with a path of a job's model, or None when there is such a field."""
    annotation: Any = root
    for position, part in enumerate(parts):
        if part.isdecimal() and not _is_spec(annotation):
            return None  # an entry of a list: its values are checked at every point
        owners = specs_in(annotation)
        field = next((spec.model_fields[part] for spec in owners if part in spec.model_fields), None)
        if field is None:
            if not owners:
                return f"`{'.'.join(parts[:position])}` is a value and has no key `{part}`; end the path before it"
            return explain_unknown_key(root, tuple(parts[:position]), owners[0], part)[0]
        annotation = field.annotation
    return None


def _is_spec(annotation: Any) -> bool:
    return get_origin(annotation) is not tuple and not any(get_origin(a) is tuple for a in get_args(annotation))


def _search_mistakes(
    sweep: SweepSpec,
    parameters: Mapping[str, ParameterSpec],
    marks: Mapping[str, Mark],
    base: LoadedJob[TrainJob],
    tree: Node,
) -> Iterator[Diagnostic]:
    if sweep.search.method == "grid":
        ranges = [path for path, parameter in parameters.items() if parameter.choices is None and not parameter.steps]
        for path in ranges:
            yield Diagnostic("search.method: grid needs `steps:` here", path, "", marks[path])
        count = 1
        for path in parameters:
            count *= 1 if path in ranges else len(parameters[path].grid())
        if count > sweep.search.max_points:
            yield Diagnostic(
                f"the grid has {count} points, above search.max_points: {sweep.search.max_points}; use "
                "search.method: random or optuna with search.samples, fewer values, or a higher max_points",
                "space",
                "",
                tree.nearest(("space",)).place,
            )
    if sweep.mode == "find_concat" and "batch.concat" in parameters:
        message = "mode: find_concat looks for it itself; take it out of the space"
        yield Diagnostic(message, "batch.concat", "", marks["batch.concat"])
    if sweep.mode != "quality" and sweep.throughput.audio == "noise" and base.job.kind != "pretrain":
        yield Diagnostic(
            "noise has no transcripts, and base is a finetune job; use audio: dataset",
            "throughput.audio",
            "noise",
            tree.nearest(("throughput", "audio")).place,
        )
