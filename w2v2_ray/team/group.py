"""Collective operations of one epoch's members, which end when the epoch does and not at a timeout.

A group is made anew for every epoch, since none of torch's backends takes a member out. Members find each other's
addresses through the coordinator's connection, which is authenticated; the sockets between them are the backend's own.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.distributed import ProcessGroupGloo
from torch.distributed.distributed_c10d import Store

from w2v2_ray.team.member import Member

T = TypeVar("T")

BUCKET_ELEMENTS = 4_000_000
"""Elements added up at once."""
_TIMEOUT_S = 60.0
_POLLS_S = (0.0001, 0.002)


class EpochOver(Exception):  # noqa: N818  (planned, not an error)
    """Who is in has changed; what was under way is void."""


class GroupError(Exception):
    """The members could not work together; the coordinator is to begin another epoch."""


class Group(Protocol):
    """The members of one epoch."""

    def add_up(self, tensor: Tensor) -> None:
        """Sum a tensor of int64 over all members, in place. After a failure it holds rubbish."""

    def add_up_rounded(self, whole: Tensor, total: Tensor) -> None:
        """Sum int64 over all members and round the sum, once, to fp32: the same bits on everybody.

        Args:
            whole: This member's part; it is left as it is. Shape: [N].
            total: Filled. Shape: [N].
        """

    def send(self, tensors: Iterable[Tensor], to: int) -> None:
        """Send tensors to one member."""

    def receive(self, tensors: Iterable[Tensor], source: int) -> None:
        """Fill tensors with what a member sends."""

    def close(self) -> None:
        """Let go of it, without waiting for anyone."""


class AloneGroup:
    """A team of one."""

    def add_up(self, tensor: Tensor) -> None:
        """Nothing is added."""

    def add_up_rounded(self, whole: Tensor, total: Tensor) -> None:
        """Nothing is added."""
        total.copy_(whole)

    def send(self, tensors: Iterable[Tensor], to: int) -> None:
        """There is nobody."""
        raise GroupError("nobody to send to")

    def receive(self, tensors: Iterable[Tensor], source: int) -> None:
        """There is nobody."""
        raise GroupError("nobody to receive from")

    def close(self) -> None:
        """Nothing to let go of."""


class _Rendezvous(Store):
    """The key-value store through which a backend's members find each other, kept by the coordinator."""

    def __init__(self, member: Member, epoch: int) -> None:
        super().__init__()
        self._member = member
        self._epoch = epoch

    def set(self, key: str, value: str | bytes) -> None:
        raw = value if isinstance(value, bytes) else value.encode()
        self._member.say("put", key=f"{self._epoch}/{key}", value=base64.b64encode(raw).decode())

    def get(self, key: str) -> bytes:
        found = self._member.wait_for_value(f"{self._epoch}/{key}", self._epoch, _TIMEOUT_S)
        if found is None:
            raise RuntimeError(f"{key}: epoch {self._epoch} is over")
        return base64.b64decode(found)

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """`get` waits."""


class GlooGroup:
    """Members that add up in host memory, over TCP. Tensors on a GPU are staged.

    Args:
        member: This worker's line to the coordinator.
        epoch: Whose members they are.
        rank: This worker's place among them.
        size: How many there are.

    Raises:
        EpochOver: From here and every operation, as soon as the coordinator has announced another epoch.
        GroupError: When a member cannot be reached.
    """

    def __init__(self, member: Member, epoch: int, rank: int, size: int) -> None:
        self._member = member
        self._epoch = epoch
        self._size = size
        options: Any = ProcessGroupGloo._Options()  # type: ignore[attr-defined]  # missing from torch's stubs
        options._devices = [ProcessGroupGloo.create_device(hostname=member.host)]
        options._timeout = timedelta(seconds=_TIMEOUT_S)
        store = _Rendezvous(member, epoch)
        self._group: Any = self._on_a_thread(lambda: ProcessGroupGloo(store, rank, size, options))

    def _on_a_thread(self, make: Callable[[], T], what: str = "rendezvous") -> T:
        """Some of gloo's calls wait for a peer that has died meanwhile: give them up when the epoch is over."""
        made: list[T] = []
        problem: list[Exception] = []

        def run() -> None:
            try:
                made.append(make())
            except Exception as error:
                problem.append(error)

        thread = threading.Thread(target=run, name=f"w2v2-ray-{what}", daemon=True)
        thread.start()
        while thread.is_alive():
            self._check()
            thread.join(0.002)
        if problem:
            self._check()
            raise GroupError(f"{what}: {problem[0]}")
        return made.pop()

    def _check(self) -> None:
        if self._member.announced != self._epoch:
            raise EpochOver

    def add_up(self, tensor: Tensor) -> None:
        """See `Group`."""
        host = tensor if tensor.device.type == "cpu" else tensor.cpu()
        self._wait(partial(self._group.allreduce, [host]))
        if host is not tensor:
            tensor.copy_(host)

    def add_up_rounded(self, whole: Tensor, total: Tensor) -> None:
        """See `Group`. Every member adds up a part of it, in 64 bits, and gives the others its sum in 32."""
        for part, into in zip(torch.split(whole, BUCKET_ELEMENTS), torch.split(total, BUCKET_ELEMENTS), strict=True):
            share = -(-len(part) // self._size)
            outgoing = torch.zeros(share * self._size, dtype=torch.int64)
            outgoing[: len(part)].copy_(part)
            incoming = torch.empty_like(outgoing)
            self._wait(partial(self._group.alltoall_base, incoming, outgoing, [], []))
            mine = incoming.view(self._size, share).sum(dim=0).to(torch.float32)
            gathered = torch.empty(share * self._size, dtype=torch.float32)
            self._wait(partial(self._group._allgather_base, gathered, mine))
            into.copy_(gathered[: len(part)])

    def send(self, tensors: Iterable[Tensor], to: int) -> None:
        """See `Group`."""
        parts = [tensor.detach().cpu().contiguous() for tensor in tensors]
        group = self._group
        self._on_a_thread(lambda: [group.send([part], to, 0).wait() for part in parts], "sending")

    def receive(self, tensors: Iterable[Tensor], source: int) -> None:
        """See `Group`."""
        targets = list(tensors)
        parts = [torch.empty_like(target, device="cpu").contiguous() for target in targets]
        group = self._group
        self._on_a_thread(lambda: [group.recv([part], source, 0).wait() for part in parts], "receiving")
        for target, part in zip(targets, parts, strict=True):
            target.copy_(part)

    def _wait(self, begin: Callable[[], Any]) -> None:
        """Wait for an operation, but not longer than the epoch lives: gloo's abort does not wake who waits."""
        pause_s, longest_s = _POLLS_S
        try:
            work = begin()
            while not work.is_completed():
                self._check()
                time.sleep(pause_s)
                pause_s = min(pause_s * 1.5, longest_s)
            work.wait()  # raises what went wrong
        except RuntimeError as error:
            self._check()
            raise GroupError(str(error)[:200]) from error

    def close(self) -> None:
        """See `Group`: its destructor may wait for a dead peer, so a thread does that."""
        held = [self._group]
        self._group = None
        threading.Thread(target=held.clear, name="w2v2-ray-farewell", daemon=True).start()


def make_group(member: Member, epoch: int, rank: int, size: int) -> Group:
    """The members of an epoch, ready to work together."""
    return AloneGroup() if size == 1 else GlooGroup(member, epoch, rank, size)
