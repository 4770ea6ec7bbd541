"""Whose training step is measured. A peer takes the settings and returns the function that computes one loss.

To add one: a module here with `build(settings, given) -> Loss`, and a line in `PEERS`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from torch import Tensor, nn

from w2v2_ray.bench.workload import StepInput, StepSettings
from w2v2_ray.errors import SpecError

PEERS = {
    "w2v2-ray": "w2v2_ray.bench.peers.ours",
    "transformers": "w2v2_ray.bench.peers.huggingface",
    "nvidia": "w2v2_ray.bench.peers.nvidia",
}


class Loss(Protocol):
    """A model with its input: calling it gives the summed loss of the micro-batch."""

    model: nn.Module

    def __call__(self) -> Tensor:
        """Forward."""
        ...


def build(settings: StepSettings, given: StepInput) -> Loss:
    """The peer of these settings, its model on the device, in training mode, with the common first weights.

    Raises:
        SpecError: There is no such peer, or it cannot do what is asked.
    """
    if settings.implementation not in PEERS:
        raise SpecError(f"--peer {settings.implementation}: no such peer; known: {', '.join(PEERS)}")
    built: Loss = import_module(PEERS[settings.implementation]).build(settings, given)
    return built
