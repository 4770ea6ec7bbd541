"""Ray Train's process group of torch, made without torch where nothing is computed.

Ray's own configuration imports torch into the driver and the controller: a CPU second of each. Workers run Ray's own
functions; what is written anew is the controller's part, which only calls them.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig

_SHUTDOWN_VARIABLE = "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S"
_SHUTDOWN_S = "30"
"""Ray's default."""


@dataclass
class GlooConfig(BackendConfig):
    """As `TorchConfig(backend="gloo")`, for workers without GPUs.

    Attributes:
        timeout_s: For workers to find each other, and until it is changed for every collective.
    """

    timeout_s: int

    @property
    def backend_cls(self) -> type[Backend]:
        """Runs in the controller."""
        return _GlooBackend

    def to_dict(self) -> dict[str, Any]:
        """For Ray's records."""
        return {"backend": "gloo", "timeout_s": self.timeout_s}


def _announce(address: str, port: int) -> None:
    from ray.train.torch.config import _set_torch_distributed_env_vars

    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address, str(port)
    _set_torch_distributed_env_vars()


def _join(world_rank: int, world_size: int, timeout_s: int) -> None:
    from ray.train.torch.config import _setup_torch_process_group

    _setup_torch_process_group("gloo", world_rank, world_size, "env://", timeout_s)


def _leave(several: bool) -> None:
    from ray.train.torch.config import _shutdown_torch

    _shutdown_torch(destroy_process_group=several)


class _GlooBackend(Backend):
    """The order of steps of Ray's `_TorchBackend`."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Bring the workers together."""
        address, port = worker_group.execute_single(0, get_address_and_port)
        worker_group.execute(_announce, address, port)
        size = len(worker_group)
        joining = [
            worker_group.execute_single_async(rank, _join, rank, size, backend_config.timeout_s) for rank in range(size)
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Take them apart; a worker that is gone never answers."""
        leaving = worker_group.execute_async(_leave, len(worker_group) > 1)
        with contextlib.suppress(GetTimeoutError):
            ray.get(leaving, timeout=int(os.environ.get(_SHUTDOWN_VARIABLE, _SHUTDOWN_S)))
