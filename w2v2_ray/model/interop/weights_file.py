"""State dicts from safetensors and pickled files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from w2v2_ray.errors import CheckpointError
from w2v2_ray.impostors import impostor
from w2v2_ray.model.interop.loaded_model import list_some
from w2v2_ray.model.interop.safe_pickle import load_pickled


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: When it is missing, truncated or damaged.
    """
    instead = impostor(path)
    if instead is not None:
        raise CheckpointError(f"{path}: this is {instead}")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({' '.join(str(error).split())[:120]}); copy or download it again"
        ) from None
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, tensors of shared memory copied apart."""
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a file that holds tensors by name and nothing else.

    Raises:
        CheckpointError: When it holds anything else, or cannot be read safely.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return as_state_dict(load_pickled(path), str(path))


def as_state_dict(content: Any, source: str) -> dict[str, Tensor]:
    """Return a loaded object as tensors by name, copied off any mapped file and fp32.

    `module.`, which wrappers for several GPUs put before every name, is taken off.

    Raises:
        CheckpointError: When it is something else.
    """
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{source}: holds {type(content).__name__}, not weights by name")
    other = [str(name) for name, value in content.items() if not isinstance(value, Tensor) or not isinstance(name, str)]
    if other:
        raise CheckpointError(f"{source}: not tensors by name: {list_some(other)}")
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {
        name.removeprefix(prefix): tensor.detach().to(torch.float32, copy=True)
        if tensor.is_floating_point()
        else tensor.detach().clone()
        for name, tensor in content.items()
    }
