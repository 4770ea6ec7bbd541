"""From a YAML file and `--set` options to a validated job, and back to YAML."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Generic, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.checking import advice, check
from w2v2_ray.spec.diagnostics import Diagnostic, InvalidJobError, did_you_mean, near_miss, show
from w2v2_ray.spec.document import Mark, Node, Origin, parse_yaml
from w2v2_ray.spec.job import Job, TrainJob
from w2v2_ray.spec.kinds import JOB_KINDS
from w2v2_ray.spec.merging import merge
from w2v2_ray.spec.overrides import Override, apply_override, parse_override
from w2v2_ray.spec.paths import path_mistakes
from w2v2_ray.spec.presets import preset_names, read_preset
from w2v2_ray.spec.published import spec_file

_SELECTORS = (("kind",), ("preset",))
"""What must be known before a preset can be merged below the file."""


J = TypeVar("J", bound=Job)


@dataclass(frozen=True, slots=True)
class LoadedJob(Generic[J]):
    """A valid job and what was noticed on the way."""

    job: J
    """The job, presets and options applied."""
    warnings: tuple[Diagnostic, ...]
    """What is legal but known to cost its user a night."""
    source: str
    """The file as it was named."""
    tree: Node
    """The document with its places, presets and options applied."""


def load_job(
    path: str | PathLike[str], overrides: Sequence[str] = (), *, look_at_paths: bool = False
) -> LoadedJob[Job]:
    """Read and validate a job spec of any kind.

    Relative paths inside it (datasets, `storage_path`) are left as they are, so they mean what they would mean on the
    command line: relative to the current directory, not to the file.

    Args:
        path: The YAML file, or the name of a job that comes with the package.
        overrides: Texts of `--set` options, `path=value`, the last one winning.
        look_at_paths: A path at which nothing is, on this machine, is a mistake too.

    Raises:
        SpecError: With all mistakes, one a line, each with its place; `InvalidJobError` carries them as data too.
    """
    file = spec_file(Path(path))
    source = str(path) if file == Path(path) else str(file)
    return load_job_text(read_spec_file(file), source, overrides, look_at_paths=look_at_paths)


def load_job_of(
    expected: type[J], path: str | PathLike[str], overrides: Sequence[str] = (), *, look_at_paths: bool = False
) -> LoadedJob[J]:
    """Read and validate a job spec that must be of one kind, or of one family of kinds; see `load_job`.

    Raises:
        SpecError: With all mistakes, or because it is of another kind.
    """
    return of_kind(load_job(path, overrides, look_at_paths=look_at_paths), expected)


def of_kind(loaded: LoadedJob[Job], expected: type[J]) -> LoadedJob[J]:
    """A job that must be of one kind, or of one family of kinds.

    Raises:
        SpecError: When it is of another.
    """
    if not isinstance(loaded.job, expected):
        kinds = [name for name, root in JOB_KINDS.items() if issubclass(root, expected)]
        raise SpecError(f"{loaded.source}: kind: {loaded.job.kind}, but this takes kind: {' or '.join(kinds)}")
    return LoadedJob(loaded.job, loaded.warnings, loaded.source, loaded.tree)


def load_job_text(
    text: str, source: str, overrides: Sequence[str] = (), *, look_at_paths: bool = False
) -> LoadedJob[Job]:
    """Validate a job spec given as YAML text; see `load_job`.

    Raises:
        SpecError: With all mistakes.
    """
    mistakes: list[Diagnostic] = []
    options = _parse_options(overrides, mistakes)
    return load_job_tree(parse_yaml(text, source), source, options, mistakes, look_at_paths=look_at_paths)


def load_job_tree(
    tree: Node,
    source: str,
    options: Sequence[Override] = (),
    mistakes: Sequence[Diagnostic] = (),
    *,
    look_at_paths: bool = False,
) -> LoadedJob[Job]:
    """Validate a job spec that stands in a document, whole or as a part of another one; see `load_job`.

    Args:
        tree: The spec.
        source: What to call it where a mistake has no place of its own.
        options: What to put on top, the last one winning.
        mistakes: What was found wrong before.
        look_at_paths: See `load_job`.

    Raises:
        SpecError: With all mistakes.
    """
    mistakes = list(mistakes)
    if not isinstance(tree.value, dict):
        what = "is empty" if tree.value is None else f"holds {show(tree.plain())}"
        raise SpecError(f"{source}: {what}; a job spec is a mapping that starts with `kind: pretrain`")
    for option in options:
        if option.path in _SELECTORS:
            tree = merge(tree, Node({option.path[0]: option.value}, tree.mark))
    kind = _kind(tree, mistakes)
    if kind is None:
        raise InvalidJobError.of(mistakes)
    tree = _expand_short_forms(_with_presets(tree, kind, mistakes))
    return _checked(tree, JOB_KINDS[kind], source, options, mistakes, look_at_paths=look_at_paths)


def change_job(loaded: LoadedJob[J], options: Sequence[Override]) -> LoadedJob[J]:
    """A valid job with some fields changed, validated again.

    Raises:
        SpecError: With all mistakes that the changes make.
    """
    changed = _checked(_copy(loaded.tree), type(loaded.job), loaded.source, options, [])
    assert isinstance(changed.job, type(loaded.job))
    return LoadedJob(changed.job, changed.warnings, changed.source, changed.tree)


def _checked(
    tree: Node,
    root: type[Job],
    source: str,
    options: Sequence[Override],
    mistakes: list[Diagnostic],
    *,
    look_at_paths: bool = False,
) -> LoadedJob[Job]:
    for option in options:
        if option.path not in _SELECTORS:
            try:
                tree = _expand_short_forms(apply_override(tree, option, root))
            except SpecError as error:
                mistakes.append(Diagnostic(error.message))
    if look_at_paths and issubclass(root, TrainJob):
        mistakes.extend(path_mistakes(tree))
    job = check(root, tree, tuple(mistakes))
    return LoadedJob(job, tuple(advice(job, tree)), source, tree)


def _copy(node: Node) -> Node:
    """A tree of its own: expanding short forms writes into mappings."""
    value = node.value
    if isinstance(value, dict):
        return Node({key: _copy(child) for key, child in value.items()}, node.mark, node.key_mark)
    if isinstance(value, list):
        return Node([_copy(child) for child in value], node.mark, node.key_mark)
    return Node(value, node.mark, node.key_mark)


class _Representer(RoundTripRepresenter):
    """Writes null as `null`; the library would leave the value out, which looks like a mistake."""

    def represent_none(self, data: None) -> ScalarNode:
        """Write `null` everywhere."""
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_none)


def dump_job(job: Job) -> str:
    """The job with every field written out, as YAML that loads back to the same job."""
    return dump_yaml({"kind": job.kind, **job.model_dump(mode="json")})


def dump_yaml(document: dict[str, object]) -> str:
    """Plain values as YAML 1.2, keys in their order, innermost lists on one line."""
    out = io.StringIO()
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.dump(_flow_lists_of_numbers(document), out)
    return out.getvalue()


def _flow_lists_of_numbers(value: object) -> object:
    """Write `[512, 10, 5]` on one line, as a person would."""
    if isinstance(value, dict):
        return CommentedMap({key: _flow_lists_of_numbers(child) for key, child in value.items()})
    if isinstance(value, list):
        items = CommentedSeq(_flow_lists_of_numbers(child) for child in value)
        if not any(isinstance(child, dict) for child in value):
            items.fa.set_flow_style()
        return items
    return value


def read_spec_file(path: Path) -> str:
    """The text of a spec file.

    Raises:
        SpecError: When it is not there or not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        guess = near_miss(path.name, beside)
        hint = f"did you mean {path.parent / guess}?" if guess else "give the path of a YAML file"
        raise SpecError(f"{path}: no such file; {hint} (`w2v2-ray jobs` lists those that come along)") from None
    except IsADirectoryError:
        raise SpecError(f"{path}: is a folder; give the path of a YAML file in it") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SpecError(f"{path}: cannot be read: {reason}; check its permissions") from None


def _parse_options(overrides: Sequence[str], mistakes: list[Diagnostic]) -> list[Override]:
    options: list[Override] = []
    for text in overrides:
        try:
            options.append(parse_override(text))
        except SpecError as error:
            mistakes.append(Diagnostic(error.message))
    return options


def _kind(tree: Node, mistakes: list[Diagnostic]) -> str | None:
    """The kind of job; after a mistake in it, the kind that was probably meant, so that the rest is checked too."""
    kinds = list(JOB_KINDS)
    node = tree.child("kind")
    if node is None:
        mistakes.append(Diagnostic(f"required and missing: write `kind: {kinds[0]}`", "kind", "", tree.place))
        return kinds[0] if len(kinds) == 1 else None
    if isinstance(node.value, str) and node.value in JOB_KINDS:
        return node.value
    message = f"unknown kind of job: {did_you_mean(show(node.plain()), kinds)}"
    mistakes.append(Diagnostic(message, "kind", show(node.plain()), node.place))
    guess = near_miss(show(node.plain()), kinds) or (kinds[0] if len(kinds) == 1 else None)
    if guess is not None and isinstance(tree.value, dict):
        tree.value["kind"] = Node(guess, node.mark, node.key_mark)
    return guess


def _with_presets(tree: Node, kind: str, mistakes: list[Diagnostic]) -> Node:
    """Merge the chain of presets below the file. A preset may name another one."""
    layers = [tree]
    seen: list[str] = []
    while True:
        top = layers[-1]
        named = top.value.pop("preset", None) if isinstance(top.value, dict) else None
        if named is None or named.value is None:
            break
        name = show(named.plain())
        names = preset_names(kind)
        if name not in names:
            message = f"no such preset for kind {kind}: {did_you_mean(name, names)}"
            mistakes.append(Diagnostic(message, "preset", name, named.place))
            break
        if name in seen:
            message = f"presets name each other in a circle ({' -> '.join([*seen, name])}); remove one `preset:`"
            mistakes.append(Diagnostic(message, "preset", name, named.place))
            break
        seen.append(name)
        layers.append(read_preset(kind, name))
    layers.append(_kind_layer(kind))
    merged = layers[-1]
    for layer in reversed(layers[:-1]):
        merged = merge(merged, layer)
    return merged


def _kind_layer(kind: str) -> Node:
    mark = Mark(f"kind {kind}", origin=Origin.PRESET)
    return Node({"kind": Node(kind, mark, mark)}, mark)


def _expand_short_forms(tree: Node) -> Node:
    """Write `train: a/path` out as `train: [{path: a/path}]`, so that options and messages can name its parts."""
    for key in ("base", "space"):  # of a sweep
        node = tree.child(key)
        if node is not None and isinstance(node.value, str) and isinstance(tree.value, dict):
            tree.value[key] = Node({"file": Node(node.value, node.mark)}, node.mark, node.key_mark)
    data = tree.child("data")
    if data is None or not isinstance(data.value, dict):
        return tree
    for key in ("train", "validation"):
        node = data.value.get(key)
        if node is not None and isinstance(node.value, (str, dict)):
            node = Node([Node(node.value, node.mark)], node.mark, node.key_mark)
        if node is not None and isinstance(node.value, list):
            items = [Node({"path": item}, item.mark) if isinstance(item.value, str) else item for item in node.value]
            data.value[key] = Node(items, node.mark, node.key_mark)
    return tree
