"""What a training state says of itself: `state.json`, and the names of the files beside it. Needs no engine."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from w2v2_ray.errors import CheckpointError

INDEX = "state.json"
EXTRA = "task.safetensors"
"""Tensors of the objective's own, written by rank 0, where it has some."""
FORMAT = "w2v2-ray training state"
FORMAT_VERSION = 1
WEIGHT = "weight"


def weights_file(rank: int) -> str:
    """Name of the file with a worker's share of the weights."""
    return f"state-{rank:05d}.safetensors"


def moments_file(rank: int) -> str:
    """Name of the file with its share of the moments."""
    return f"moments-{rank:05d}.safetensors"


def holds_weights(name: str) -> bool:
    """Whether a file of a state is needed to use the model, by its name."""
    return not name.startswith("moments-") and name != EXTRA


@dataclass(frozen=True)
class ParameterInfo:
    """A parameter of the state.

    Attributes:
        shape: Its shape.
        trained: Whether it has Adam moments; frozen parameters have none.
    """

    shape: tuple[int, ...]
    trained: bool

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class StateDescription:
    """What `state.json` says.

    Attributes:
        step: Updates that Adam made (skipped ones not counted).
        kinds: Which state trained parameters have: weight alone before the first step, then the moments too.
        parameters: By name, in the model's order.
        files: Names of the files: those with weights, one a worker that saved, then those with moments.
        loss_scale: State of fp16's loss scaling, or None.
    """

    step: int
    kinds: tuple[str, ...]
    parameters: dict[str, ParameterInfo]
    files: tuple[str, ...]
    loss_scale: dict[str, float] | None

    @property
    def num_parameters(self) -> int:
        """Elements of all parameters."""
        return sum(parameter.numel for parameter in self.parameters.values())

    @property
    def state_bytes(self) -> int:
        """Bytes of all tensors together."""
        trained = sum(parameter.numel for parameter in self.parameters.values() if parameter.trained)
        return 4 * (self.num_parameters + trained * (len(self.kinds) - 1))


def describe_training_state(folder: Path) -> StateDescription:
    """Read the index. Needs neither an engine nor a process group.

    Raises:
        CheckpointError: When it is missing, damaged, or of a newer format.
    """
    path = folder / INDEX
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: no training state here ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged training state (not JSON); resume from another checkpoint") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not the index of a {FORMAT}")
    if content.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: training state of format {content.get('version')}; this version reads {FORMAT_VERSION}. "
            "Use the version of w2v2-ray that wrote it"
        )
    try:
        return StateDescription(
            step=int(content["step"]),
            kinds=tuple(content["kinds"]),
            parameters={
                name: ParameterInfo(tuple(entry["shape"]), bool(entry["trained"]))
                for name, entry in content["parameters"].items()
            },
            files=tuple(content["files"]),
            loss_scale=content["loss_scale"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged training state ({error!r}); resume from another checkpoint") from error
