"""What `networks.py` runs on a host: a worker that trains, or one that only adds up."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # missing from torch's stubs

from w2v2_ray.team.member import Member
from w2v2_ray.team.team import Team

SECRET = "benchmark"


def train(args: argparse.Namespace) -> None:
    """Train a job as one of its workers."""
    from w2v2_ray.run.folder import RunFolder
    from w2v2_ray.spec.job import TrainJob
    from w2v2_ray.spec.loading import load_job_of
    from w2v2_ray.training.session import start_session

    job = load_job_of(TrainJob, Path(args.job), ["worker.gpus=0"]).job
    run = RunFolder(Path(job.storage_path) / job.name)

    def join() -> Member:
        return Member((args.address, args.port), SECRET, args.name, {"pid": os.getpid()}, args.silence_s)

    session = start_session(job, run, join=join)
    session.trainer.train()
    session.close()
    os._exit(0)


class Whole:
    """A sum of one item a worker, of many elements. See `team.Sum`; it is its own (empty) luggage."""

    rounded = 1

    def __init__(self, elements: int) -> None:
        self.flat = torch.arange(elements, dtype=torch.int64)
        self.few = torch.zeros(8, dtype=torch.int64)

    def compute(self, item: int) -> None:
        """Nothing."""

    def partial(self) -> list[Tensor]:
        """What is added up."""
        return [self.flat, self.few]

    def planned(self, items: Sequence[int]) -> None:
        """Nothing."""

    def description(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def tensors(self) -> list[Tensor]:
        """Nothing."""
        return []

    def room_for(self, description: dict[str, Any]) -> list[Tensor]:
        """Nothing."""
        return []

    def unpack(self, description: dict[str, Any], tensors: Sequence[Tensor]) -> None:
        """Nothing."""


class Parameters(nn.Module):
    """Parameters whose gradients cost nothing to compute."""

    def __init__(self, elements: int, tensors: int = 200) -> None:
        super().__init__()
        self.parts = nn.ParameterList([torch.zeros(elements // tensors) for _ in range(tensors)])

    def forward(self) -> Tensor:
        """Their sum."""
        return torch.stack([part.sum() for part in self.parts]).sum()


def add_up(args: argparse.Namespace) -> None:
    """Time sums of ours and updates of DistributedDataParallel, in turns."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = args.interface
    whole = Whole(args.elements)
    team = Team(Member((args.address, args.port), SECRET, args.name, {}, 60.0), whole)
    team.enter(lambda: 0, lambda found: None)
    rank, size = team.rank, team.size
    store = TCPStore(args.address, args.store, size, is_master=False, timeout=timedelta(seconds=60))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    model = nn.parallel.DistributedDataParallel(Parameters(args.elements), gradient_as_bucket_view=True)
    seconds: dict[str, list[float]] = {"ours": [], "ddp": []}
    for turn in range(args.repeats + 1):
        for what in ("ours", "ddp"):
            dist.barrier()
            began = time.perf_counter()
            if what == "ours":
                team.add_up(range(size), whole)
            else:
                model().backward()
            dist.barrier()
            if turn:
                seconds[what].append(time.perf_counter() - began)
    if rank == 0:
        Path(args.out).write_text(json.dumps(seconds))
    dist.barrier()
    os._exit(0)


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "add_up"))
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--job")
    parser.add_argument("--silence-s", type=float, default=3.0)
    parser.add_argument("--elements", type=int, default=0)
    parser.add_argument("--store", type=int, default=0)
    parser.add_argument("--interface", default="")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out")
    args = parser.parse_args()
    {"train": train, "add_up": add_up}[args.what](args)


if __name__ == "__main__":
    main()
