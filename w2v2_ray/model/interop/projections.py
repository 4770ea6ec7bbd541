"""Query, key and value: three matrices in other projects' files, one fused matrix in ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

PARTS = ("q_proj", "k_proj", "v_proj")
"""In the order of the rows of the fused matrix."""

FUSED = "qkv"


def fuse(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Join what is named `...q_proj...`, `...k_proj...` and `...v_proj...` under `...qkv...`; keep everything else.

    Raises:
        ValueError: If a part of a triple is missing.
    """
    result: dict[str, Tensor] = {}
    triples: dict[str, dict[str, Tensor]] = {}
    for name, tensor in named:
        part = next((p for p in PARTS if f".{p}." in name), None)
        if part is None:
            result[name] = tensor
        else:
            triples.setdefault(name.replace(part, FUSED), {})[part] = tensor
    for name, parts in triples.items():
        missing = [part for part in PARTS if part not in parts]
        if missing:
            raise ValueError(f"{name}: {', '.join(missing)} missing from the state dict; all of q, k and v are needed")
        result[name] = torch.cat([parts[part] for part in PARTS])
    return result


def split(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `fuse`."""
    result: dict[str, Tensor] = {}
    for name, tensor in named.items():
        if f".{FUSED}." in name:
            for part, rows in zip(PARTS, tensor.chunk(3), strict=True):
                result[name.replace(FUSED, part)] = rows.clone()
        else:
            result[name] = tensor
    return result


def split_codebook(name: str, tensor: Tensor, num_codebooks: int | None) -> Tensor:
    """Turn a codebook as others store it into ours.

    Shape: [1, G·V, d] -> [G, V, d].

    Raises:
        ValueError: If G is not given or does not fit.
    """
    if num_codebooks is None or tensor.ndim != 3 or tensor.shape[1] % num_codebooks:
        raise ValueError(f"{name} has shape {list(tensor.shape)}, which {num_codebooks} codebooks do not divide")
    return tensor.view(num_codebooks, -1, tensor.shape[2])


def join_codebook(tensor: Tensor) -> Tensor:
    """Undo `split_codebook`."""
    return tensor.flatten(0, 1)[None]
