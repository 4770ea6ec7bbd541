"""Training state on disk without reference to a world size or ZeRO stage.

A folder holds two files for each worker that saved (see `state_file.py`): `state-00000.safetensors` with the pieces of
the master weights that lived on it, and `moments-00000.safetensors` with those of Adam's moments, so that using a model
reads a third of the bytes; states of earlier versions have both in the first. Nothing is gathered. `state.json` lists
the parameters and the files. Any number of workers at any stage loads it: each reads the slices that its own partition
needs. Buffers of the model are not part of it; tensors of the objective's own are in `task.safetensors`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from w2v2_ray.engine import fragments
from w2v2_ray.engine.distributed import barrier, gather_objects
from w2v2_ray.engine.state_file import Piece, read_pieces, read_slices, verify_state_file, write_state_file
from w2v2_ray.engine.state_index import (
    EXTRA,
    FORMAT,
    FORMAT_VERSION,
    INDEX,
    WEIGHT,
    ParameterInfo,
    StateDescription,
    describe_training_state,
    holds_weights,
    moments_file,
    weights_file,
)
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.errors import CheckpointError
from w2v2_ray.places.durable import write_text
from w2v2_ray.places.new_files import new_file

T = TypeVar("T")

_NAMES_SHOWN = 8


@dataclass(frozen=True)
class HostSnapshot:
    """This rank's share of a training state, copied to host memory: training may go on while it is written.

    Attributes:
        pieces: The copies.
        description: The index; the same on every rank.
        world_rank: Whose share it is.
        extra: Tensors of the objective's own; on rank 0.
    """

    pieces: list[tuple[Piece, Tensor]]
    description: StateDescription
    world_rank: int
    extra: dict[str, Tensor] = field(default_factory=dict)

    def write(self, folder: Path) -> list[Path]:
        """Write the share and, on rank 0, the index. No collective: it may run on a thread.

        The folder is complete once every rank's call returned.

        Returns:
            The files written, synced to disk.
        """
        return self.write_share(folder) + self.write_index(folder)

    def write_share(self, folder: Path) -> list[Path]:
        """Write the share alone."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for weights, name in ((True, weights_file(self.world_rank)), (False, moments_file(self.world_rank))):
            if name in self.description.files:
                write_state_file(folder / name, [part for part in self.pieces if (part[0].kind == WEIGHT) == weights])
                written.append(folder / name)
        if self.extra:
            with new_file(folder / EXTRA) as temporary:
                save_file(self.extra, temporary)
            written.append(folder / EXTRA)
        return written

    def write_index(self, folder: Path) -> list[Path]:
        """Write `state.json` on rank 0; does nothing elsewhere."""
        if self.world_rank != 0:
            return []
        content = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(self.description)}
        write_text(folder / INDEX, json.dumps(content, indent=1) + "\n")
        return [folder / INDEX]


def snapshot_training_state(engine: TrainingEngine, extra: Mapping[str, Tensor] | None = None) -> HostSnapshot:
    """Copy this rank's share of the state to host memory. Every rank calls it between the same two updates.

    Args:
        engine: Whose weights and moments.
        extra: Tensors of the objective's own, the same on every rank.
    """
    adam = engine.adam
    kinds = (WEIGHT, *fragments.MOMENTS) if fragments.has_moments(engine) else (WEIGHT,)
    copies: dict[tuple[int, str], Tensor] = {}
    pieces: list[tuple[Piece, Tensor]] = []
    for fragment in fragments.owned_fragments(engine):
        for kind in kinds:
            piece = Piece(kind, fragment.name, fragment.start, fragment.numel)
            if engine.zero_stage == 0:
                view = fragment.weight if kind == WEIGHT else fragment.moment(adam, kind)
                pieces.append((piece, _host_copy(view)))
                continue
            # One copy of the flat partition, not of hundreds of parameters.
            key = (id(fragment.master), kind)
            if key not in copies:
                whole = fragment.master.detach() if kind == WEIGHT else adam.state[fragment.master][kind]
                copies[key] = _host_copy(whole.view(-1))
            pieces.append((piece, copies[key].narrow(0, fragment.offset, fragment.numel)))
    for name, start, values in fragments.owned_frozen(engine):
        pieces.append((Piece(WEIGHT, name, start, values.numel()), _host_copy(values)))
    first = engine.world_rank == 0
    copied = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in (extra or {}).items() if first
    }
    return HostSnapshot(pieces, _describe(engine, kinds), engine.world_rank, copied)


def _host_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _describe(engine: TrainingEngine, kinds: tuple[str, ...]) -> StateDescription:
    return StateDescription(
        step=fragments.adam_step(engine),
        kinds=kinds,
        parameters=_parameters_of(engine),
        files=tuple(
            name(rank)
            for name in ((weights_file, moments_file) if len(kinds) > 1 else (weights_file,))
            for rank in range(engine.world_size)
        ),
        loss_scale=fragments.loss_scale_state(engine),
    )


def _parameters_of(engine: TrainingEngine) -> dict[str, ParameterInfo]:
    return {
        name: ParameterInfo(shape, name not in engine.frozen_weights) for name, shape in engine.parameter_shapes.items()
    }


class _StoredPieces:
    """Where each part of each parameter is, over all files of a state."""

    def __init__(self, folder: Path, *, weights_only: bool = False) -> None:
        self.folder = folder
        self.description = describe_training_state(folder)
        self._kinds = (WEIGHT,) if weights_only else self.description.kinds
        self.files = tuple(file for file in self.description.files if holds_weights(file) or not weights_only)
        self._places: dict[tuple[str, str], list[tuple[Piece, str]]] = defaultdict(list)
        for file in self.files:
            for piece in read_pieces(folder / file):
                self._places[piece.kind, piece.name].append((piece, file))
        self._check_complete()

    def _check_complete(self) -> None:
        """Every parameter must be covered, without gap or overlap."""
        broken = []
        for name, parameter in self.description.parameters.items():
            for kind in self._kinds if parameter.trained else (WEIGHT,):
                places = self._places[kind, name]
                places.sort(key=lambda place: place[0].start)
                ends = [0, *(piece.stop for piece, _ in places)]
                if [piece.start for piece, _ in places] != ends[:-1] or ends[-1] != parameter.numel:
                    broken.append(f"{kind} of {name}")
        if broken:
            raise CheckpointError(
                f"{self.folder}: incomplete training state ({_some(broken)}); a worker's file may belong to another "
                "save. Resume from another checkpoint"
            )

    def read(self, wanted: Iterable[tuple[str, str, int, Tensor]]) -> None:
        """Fill tensors from the files.

        Args:
            wanted: Kind, parameter name, first element, and the 1-D tensor to fill.
        """
        by_file: dict[str, list[tuple[Piece, int, int, Tensor]]] = defaultdict(list)
        for kind, name, start, target in wanted:
            stop = start + target.numel()
            for piece, file in self._places[kind, name]:
                low, high = max(start, piece.start), min(stop, piece.stop)
                if low < high:
                    by_file[file].append((piece, low, high, target.narrow(0, low - start, high - low)))
        for file, parts in by_file.items():
            values = read_slices(self.folder / file, [part[:3] for part in parts])
            for part, value in zip(parts, values, strict=True):
                part[3].copy_(value)


def load_training_state(engine: TrainingEngine, folder: Path, *, verified: bool = False) -> None:
    """Load a state saved by any number of workers at any ZeRO stage; every rank calls it.

    Nothing is changed unless every file is whole and the parameters are the engine's. Afterwards masters, moments and
    step are exactly as saved, and the weights that forward uses are what the last step before saving made of them.

    Args:
        engine: Same parameters as when saving; workers, stage and precision may differ.
        folder: The same on every rank.
        verified: The files' checksums have been compared already.

    Raises:
        CheckpointError: On every rank, when the state is damaged or of another model.
    """
    stored = _agree(lambda: _open_for(engine, folder, verified=verified))
    description = stored.description
    fragments.set_adam_step(engine, description.step)
    _agree(lambda: stored.read(_wanted(engine, description.kinds)))
    frozen = {name: torch.empty(weight.numel()) for name, weight in engine.frozen_weights.items()}
    _agree(lambda: stored.read((WEIGHT, name, 0, values) for name, values in frozen.items()))
    fragments.load_frozen(engine, frozen)
    fragments.set_loss_scale_state(engine, description.loss_scale)
    fragments.refresh_weights(engine)
    barrier()


def _agree(action: Callable[[], T]) -> T:
    """Do something that may fail on one rank, and fail on all if it does."""
    problem: str | None = None
    result: T | None = None
    try:
        result = action()
    except CheckpointError as error:
        problem = error.message
    problems = [found for found in gather_objects(problem) if found is not None]
    if problems:
        raise CheckpointError(problems[0])
    return cast("T", result)


def _open_for(engine: TrainingEngine, folder: Path, *, verified: bool) -> _StoredPieces:
    stored = _StoredPieces(folder)
    _check_same_parameters(engine, stored.description, folder)
    # Checksums need whole files: ranks share them out.
    for file in () if verified else stored.files[engine.world_rank :: engine.world_size]:
        verify_state_file(folder / file)
    return stored


def _wanted(engine: TrainingEngine, kinds: tuple[str, ...]) -> Iterator[tuple[str, str, int, Tensor]]:
    for fragment in fragments.resident_fragments(engine):
        yield WEIGHT, fragment.name, fragment.start, fragment.weight
        for kind in fragments.MOMENTS:
            moment = fragment.moment(engine.adam, kind)
            if kind in kinds:
                yield kind, fragment.name, fragment.start, moment
            else:
                moment.zero_()


def _check_same_parameters(engine: TrainingEngine, description: StateDescription, folder: Path) -> None:
    ours, theirs = _parameters_of(engine), description.parameters
    differences = [
        ("parameters missing from it", [name for name in ours if name not in theirs]),
        ("parameters the model does not have", [name for name in theirs if name not in ours]),
        (
            "other shapes",
            [
                f"{name} {list(theirs[name].shape)} instead of {list(ours[name].shape)}"
                for name in ours
                if name in theirs and theirs[name].shape != ours[name].shape
            ],
        ),
        (
            "frozen there and trained here, or the other way round",
            [name for name in ours if name in theirs and theirs[name].trained != ours[name].trained],
        ),
    ]
    found = [f"{what}: {_some(names)}" for what, names in differences if names]
    if found:
        raise CheckpointError(
            f"{folder}: training state of another model ({'; '.join(found)}); "
            "resume with the model section it was trained with"
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def read_extra_state(folder: Path) -> dict[str, Tensor]:
    """Tensors of the objective's own; none where the state has none.

    Raises:
        CheckpointError: When their file is damaged.
    """
    path = folder / EXTRA
    if not path.exists():
        return {}
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); resume from another checkpoint") from error
    return found


def read_full_weights(folder: Path, *, verified: bool = False) -> dict[str, Tensor]:
    """Assemble the fp32 master weights. Needs neither an engine nor a process group; moments are not read.

    Args:
        folder: Of the state.
        verified: The files' checksums have been compared already.

    Returns:
        By name, in the model's order, frozen parameters included.

    Raises:
        CheckpointError: When the state is damaged.
    """
    stored = _StoredPieces(folder, weights_only=True)
    for file in () if verified else stored.files:
        verify_state_file(folder / file)
    weights = {name: torch.empty(parameter.numel) for name, parameter in stored.description.parameters.items()}
    stored.read((WEIGHT, name, 0, weight) for name, weight in weights.items())
    return {name: weight.view(stored.description.parameters[name].shape) for name, weight in weights.items()}
