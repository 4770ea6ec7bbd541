"""Sums over workers of which any may be lost and more may come, with the same result.

A sum is made of items. Each item's contribution is whole numbers, so that it does not matter who adds what in which
order, and that doing an item again or fetching its result are the same bits. When membership changes, survivors keep
what they have added up; the items that nobody alive has are shared out again. A sum that reached some members and not
others is handed to those by one that has it; it can be one sum at most. Who has no weights is sent them by a peer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from w2v2_ray.team.group import EpochOver, Group, GroupError, make_group
from w2v2_ray.team.member import Member
from w2v2_ray.team.roster import NO_STATE


class Luggage(Protocol):
    """What a newcomer has to be given."""

    def description(self) -> dict[str, Any]:
        """Plain JSON: everything that is no tensor."""
        ...

    def tensors(self) -> list[Tensor]:
        """Live tensors."""
        ...

    def room_for(self, description: dict[str, Any]) -> list[Tensor]:
        """Tensors to receive another worker's into, of whose luggage this is the description."""
        ...

    def unpack(self, description: dict[str, Any], tensors: Sequence[Tensor]) -> None:
        """Take over what another worker's luggage holds."""
        ...


class Sum(Protocol):
    """One worker's part of a sum.

    Attributes:
        rounded: So many of its first totals are wanted in fp32, rounded once; the others whole.
    """

    rounded: int

    def compute(self, item: int) -> None:
        """Add an item to this worker's partial sums."""
        ...

    def partial(self) -> list[Tensor]:
        """The partial sums: int64, in the same shapes on every worker."""
        ...

    def planned(self, items: Sequence[int]) -> None:
        """This worker will compute these items, in this order, unless membership changes."""
        ...


@dataclass(frozen=True)
class _Transfer:
    """Tensors that one member owes another: the last sum, or everything."""

    source: int
    to: int
    everything: bool


def share_of(items: Sequence[int], rank: int, size: int) -> list[int]:
    """An even, contiguous share."""
    share, extra = divmod(len(items), size)
    first = rank * share + min(rank, extra)
    return list(items[first : first + share + (rank < extra)])


class Team:
    """The living workers of a run, as one of them sees them.

    Args:
        member: This worker's line to the coordinator.
        luggage: What newcomers are given; its owner is this worker's trainer.
        make: Makes an epoch's group.
    """

    def __init__(
        self, member: Member, luggage: Luggage, make: Callable[[Member, int, int, int], Group] = make_group
    ) -> None:
        self._member = member
        self._luggage = luggage
        self._make = make
        self._epoch = 0
        self._group: Group | None = None
        self._names: list[str] = []
        self._position = NO_STATE
        self._done: list[int] = []
        self._elsewhere: tuple[int, set[int]] = (NO_STATE, set())
        self._open = False  # Whether the luggage is what a sum begins with that newcomers may take part in.
        self._kept: tuple[list[Tensor], list[Tensor]] = ([], [])

    @property
    def leads(self) -> bool:
        """Whether this worker is the one that writes and decides. It may become so at any sum or word."""
        return bool(self._names) and self._names[0] == self._member.name

    @property
    def size(self) -> int:
        """Members."""
        return len(self._names)

    @property
    def rank(self) -> int:
        """This worker's place among them."""
        return self._names.index(self._member.name)

    @property
    def _stale(self) -> bool:
        self._member.check()
        return self._member.announced != self._epoch

    def enter(self, decide: Callable[[], Any], load: Callable[[Any], None]) -> bool:
        """Join: from a peer's state, or all together from what the leader finds.

        Args:
            decide: On the leader, when nobody has weights: what to begin from, plain JSON.
            load: On everybody then: begin from it.

        Returns:
            Whether a peer gave its state.
        """
        self._open = True
        while True:
            self._settle()
            if self._position != NO_STATE:
                self._open = False
                return True
            key = f"start-{self._epoch}"
            if self.leads:
                self._member.say("word", key=key, value=decide())
            if self._member.wait_for_word(key, self._epoch):
                load(self._member.word(key))
                self._position, self._open = 0, False
                return False

    def word(self, key: str, make: Callable[[], Any]) -> Any:
        """What the leader says, the same on everybody; should it die, the next leader says it.

        Args:
            key: Names the word; used once in a run.
            make: On the leader: plain JSON.
        """
        while not self._member.heard(key):
            if self._stale:
                self._settle()
            elif self.leads:
                self._member.say("word", key=key, value=make())
                self._member.wait_for_word(key, self._epoch)
            else:
                self._member.wait_for_word(key, self._epoch)
        return self._member.word(key)

    def add_up(self, items: Sequence[int], part: Sum, *, newcomers: bool = False) -> list[Tensor]:
        """Make a sum over items with all members, whoever they will be.

        Args:
            items: The same on everybody.
            part: This worker's part; its partial sums must be zero.
            newcomers: Those who wait may be let in: this worker's luggage is what this sum begins with.

        Returns:
            The totals, valid until the sum after the next; the part must be zeroed.
        """
        self._open = newcomers
        if newcomers and self.leads and self._member.others_wait:
            self._member.say("admit")
            self._member.wait_for_admission(self._epoch)
        todo: list[int] | None = None
        while True:
            try:
                if self._stale:
                    todo = None
                    if self._settle(part):
                        break
                if todo is None:
                    todo = self._share(items)
                    part.planned(todo)
                while todo:
                    part.compute(todo[0])
                    self._done.append(todo.pop(0))
                    if self._stale:
                        raise EpochOver
                self._reduce(part)
                break
            except EpochOver:
                continue
            except GroupError as error:
                self._fail(str(error))
        self._position += 1
        self._done, self._open = [], False
        self._member.say("stepped", position=self._position)
        return self._kept[self._position % 2]

    def leave(self) -> None:
        """Leave in good order, between two sums."""
        self._member.say("leave")
        self.close()

    def end(self) -> None:
        """There is nothing left to do: a loss that follows is none."""
        self._member.say("end")

    def close(self) -> None:
        """Let go of everything."""
        self._drop_group()
        self._member.close()

    def _share(self, items: Sequence[int]) -> list[int]:
        """What this worker computes of what is missing."""
        position, elsewhere = self._elsewhere
        have = {*self._done, *(elsewhere if position == self._position else ())}
        return share_of([item for item in items if item not in have], self.rank, self.size)

    def _reduce(self, part: Sum) -> None:
        """Add up copies: what a failed operation leaves in its tensors is rubbish."""
        assert self._group is not None
        totals = self._kept_for(part)
        for place, (total, mine) in enumerate(zip(totals, part.partial(), strict=True)):
            if place < part.rounded:
                self._group.add_up_rounded(mine, total)
            else:
                total.copy_(mine)
                self._group.add_up(total)

    def _kept_for(self, part: Sum) -> list[Tensor]:
        """Where the totals of the sum under way go. Those of the sum before are kept for who has missed them."""
        kept = self._kept[(self._position + 1) % 2]
        wanted = [
            (tensor.shape, torch.float32 if place < part.rounded else tensor.dtype, tensor.device)
            for place, tensor in enumerate(part.partial())
        ]
        if [(tensor.shape, tensor.dtype, tensor.device) for tensor in kept] != wanted:
            kept[:] = [torch.empty(shape, dtype=dtype, device=device) for shape, dtype, device in wanted]
        return kept

    def _fail(self, why: str) -> None:
        self._drop_group()
        self._member.say("failed", epoch=self._epoch, why=why)
        self._member.wait_for_epoch(self._epoch)

    def _settle(self, part: Sum | None = None) -> bool:
        """Settle into the newest epoch: who is in, who has what, and what each is owed.

        Returns:
            Whether the sum under way was made meanwhile and its totals are here.
        """
        while True:
            self._drop_group()
            epoch = self._member.wait_for_epoch(self._epoch)
            self._epoch = epoch
            self._member.say("ready", epoch=epoch, position=self._position, done=self._done, open=self._open)
            go = self._member.wait_for_go(epoch)
            if go is None:
                continue
            self._names = go["members"]
            positions: list[int] = [standing[0] for standing in go["standing"]]
            newest = max(positions)
            mine = positions[self.rank]
            try:
                self._group = self._make(self._member, epoch, self.rank, self.size)
                self._transfer(positions, part)
            except EpochOver:
                continue
            except GroupError as error:
                self._drop_group()
                self._member.say("failed", epoch=epoch, why=str(error))
                continue
            # What those behind have computed belongs to a sum that is made.
            done = [standing[1] for standing in go["standing"] if standing[0] == newest]
            self._elsewhere = (newest, {item for items in done for item in items})
            return NO_STATE < mine < newest

    def _transfer(self, positions: Sequence[int], part: Sum | None) -> None:
        """Hand totals to those that missed them and luggage to those that have none."""
        assert self._group is not None
        newest = max(positions)
        holders = [rank for rank, position in enumerate(positions) if position == newest]
        owed = [rank for rank, position in enumerate(positions) if position < newest]
        transfers = [
            _Transfer(holders[number % len(holders)], rank, positions[rank] == NO_STATE)
            for number, rank in enumerate(owed)
        ]
        for transfer in transfers:
            if self.rank == transfer.source:
                self._give(transfer)
            elif self.rank == transfer.to:
                self._take(transfer, part, newest)

    def _give(self, transfer: _Transfer) -> None:
        assert self._group is not None
        if not transfer.everything:
            self._group.send(self._kept[self._position % 2], transfer.to)
            return
        text = json.dumps(self._luggage.description()).encode()
        self._group.send([torch.tensor([len(text)]), torch.frombuffer(bytearray(text), dtype=torch.uint8)], transfer.to)
        self._group.send(self._luggage.tensors(), transfer.to)

    def _take(self, transfer: _Transfer, part: Sum | None, newest: int) -> None:
        """All of it or nothing: received into tensors of its own."""
        assert self._group is not None
        if not transfer.everything:
            assert part is not None, "a worker misses a sum only while it waits for it"
            self._group.receive(self._kept_for(part), transfer.source)
            return
        length = torch.zeros(1, dtype=torch.int64)
        self._group.receive([length], transfer.source)
        text = torch.empty(int(length), dtype=torch.uint8)
        self._group.receive([text], transfer.source)
        description = json.loads(bytes(text.tolist()))
        tensors = self._luggage.room_for(description)
        self._group.receive(tensors, transfer.source)
        self._luggage.unpack(description, tensors)
        self._position = newest

    def _drop_group(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.close()
