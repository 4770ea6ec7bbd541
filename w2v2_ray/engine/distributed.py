"""The process group: Ray's, when it has made one, or a group of one process."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from w2v2_ray.importing import no_collection

T = TypeVar("T")


@dataclass(frozen=True)
class WorldInfo:
    """Where this process stands among the live workers."""

    world_rank: int
    world_size: int
    local_rank: int


def _prepare_environment(device: torch.device) -> None:
    """Set what DeepSpeed reads from the environment, before its first import."""
    # DeepSpeed would otherwise probe for accelerators, and train on a GPU although the job says cpu.
    os.environ["DS_ACCELERATOR"] = "cuda" if device.type == "cuda" else "cpu"
    # With LOCAL_SIZE set, DeepSpeed leaves a 66 MiB file in /dev/shm for every process, also after it ended.
    os.environ.pop("LOCAL_SIZE", None)
    # DeepSpeed takes the device's index from LOCAL_RANK, whatever device it is told otherwise.
    if device.type == "cuda":
        os.environ["LOCAL_RANK"] = str(device.index or 0)
    else:
        os.environ.setdefault("LOCAL_RANK", "0")


def init_process_group(device: torch.device) -> WorldInfo:
    """Join the workers' process group and tell DeepSpeed of it; every rank calls it, once.

    An existing torch process group (Ray's) is used as it is. Without one, a group of this process alone is made;
    it needs neither a port nor a file.

    Args:
        device: Where the model will live; decides the backend (nccl for cuda, else gloo).

    Returns:
        This process's place. `local_rank` is the one the launcher gave in LOCAL_RANK, 0 without.

    Raises:
        RuntimeError: DeepSpeed was imported earlier for another kind of device.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    backend = "nccl" if device.type == "cuda" else "gloo"
    _prepare_environment(device)
    if not dist.is_initialized():
        store = dist.HashStore()  # type: ignore[attr-defined]  # missing from torch's stubs
        dist.init_process_group(backend, store=store, rank=0, world_size=1)

    with no_collection():
        import deepspeed
        from deepspeed.accelerator import get_accelerator

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # DeepSpeed still calls what torch 2.13 renamed; neither our users nor we can mend that.
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning)
    accelerator = get_accelerator().device_name()
    if accelerator.split(":")[0] != device.type:
        raise RuntimeError(
            f"DeepSpeed was imported for {accelerator} before init_process_group({device}); import it later, or set "
            f"DS_ACCELERATOR={device.type} in the environment"
        )
    # DeepSpeed would compile its shared-memory all-reduce on every new node, half a minute with a compiler at hand, for
    # launches on one node that we do not make.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False)
    return WorldInfo(dist.get_rank(), dist.get_world_size(), local_rank)


def world_rank() -> int:
    """This process's rank; 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of live workers; 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def _collective_device() -> torch.device:
    """Where a tensor must live to be communicated."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def barrier() -> None:
    """Wait for every rank; every rank calls it."""
    if world_size() > 1:
        dist.barrier()


def broadcast_object(value: T | None, source: int = 0) -> T:
    """Give one rank's picklable object to all; every rank calls it.

    Args:
        value: The object on rank `source`; ignored elsewhere.
        source: The rank that has it.
    """
    if world_size() == 1:
        return cast("T", value)
    box = [value]
    dist.broadcast_object_list(box, src=source, device=_collective_device())
    return cast("T", box[0])


def gather_objects(value: T) -> list[T]:
    """Give every rank the picklable objects of all, in the order of ranks; every rank calls it."""
    if world_size() == 1:
        return [value]
    box: list[Any] = [None] * world_size()
    dist.all_gather_object(box, value)
    return box


def destroy_process_group() -> None:
    """Leave the process group, if there is one, and make DeepSpeed forget it."""
    if not dist.is_initialized():
        return
    try:
        from deepspeed import comm
    except ImportError:
        dist.destroy_process_group()
        return
    if comm.comm.cdb is None:
        dist.destroy_process_group()
    else:
        comm.destroy_process_group()  # its own: it keeps copies of the group, which a later engine would use
    comm.comm.cdb = None
