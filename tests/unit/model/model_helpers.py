"""What tests of the model share besides fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

HOURGLASS = {"pre_layers": 1, "middle_layers": 2, "post_layers": 1, "shorten_factor": 3}
"""A small Hourglass, as part of an encoder spec."""


@dataclass
class MicroBatch:
    """The positional arguments of `Wav2Vec2PretrainModel.forward`."""

    waveform: Tensor
    sizes: list[int]
    masks: Tensor
    negatives: list[Tensor]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.waveform, self.sizes, self.masks, self.negatives))
