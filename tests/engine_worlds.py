"""Groups of processes that stay alive over many cases, since importing DeepSpeed takes seconds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

_TIMEOUT_S = 120
# What every worker needs, imported once by the process that they are forked from.
_PRELOAD = [
    "deepspeed",
    "deepspeed.runtime.zero.stage3",
    "deepspeed.runtime.zero.muon.muon_optimizer",
    "torch._dynamo",
    "w2v2_ray.engine.training_state",
]


class WorkersFailedError(AssertionError):
    """What went wrong, by rank."""


def _serve(rank: int, size: int, store: str, pipe: Connection) -> None:
    import torch
    import torch.distributed as dist

    from w2v2_ray.engine.distributed import init_process_group

    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    if size > 1:  # As Ray does; a single process must do without.
        dist.init_process_group(
            "gloo",
            store=dist.FileStore(store, size),
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=_TIMEOUT_S),
        )
    init_process_group(torch.device("cpu"))
    gc.freeze()  # DeepSpeed collects garbage several times for every bf16 engine.
    while True:
        message = pipe.recv()
        if message is None:
            return
        function, args = message
        try:
            pipe.send(("done", function(*args)))
        except BaseException as error:
            pipe.send(("failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))


class World:
    """`size` processes with a process group."""

    def __init__(self, size: int, folder: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOAD)
        self.size = size
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(size):
            ours, theirs = context.Pipe()
            arguments = (rank, size, str(folder / f"store-{size}"), theirs)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Call a module-level function on every rank; returns their results in order."""
        for pipe in self._pipes:
            pipe.send((function, args))
        outcomes = []
        for rank, pipe in enumerate(self._pipes):
            if not pipe.poll(_TIMEOUT_S):
                raise WorkersFailedError(f"rank {rank} of {self.size} does not answer")
            outcomes.append(pipe.recv())
        failures = [f"rank {rank}: {value}" for rank, (state, value) in enumerate(outcomes) if state == "failed"]
        if failures:
            raise WorkersFailedError("\n".join(failures))
        return [value for _, value in outcomes]

    def close(self) -> None:
        for pipe in self._pipes:
            try:
                pipe.send(None)
            except OSError:
                continue
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.kill()


class Worlds:
    """Worlds of every size, each started when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worlds: dict[int, World] = {}

    def __getitem__(self, size: int) -> World:
        if size not in self._worlds:
            with patch.dict(os.environ, DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1"):
                self._worlds[size] = World(size, self._folder)
        return self._worlds[size]

    def close(self) -> None:
        for world in self._worlds.values():
            world.close()
